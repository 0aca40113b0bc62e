"""Where the jobs of one command are kept, and how it reaches platforms."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import click
from attrs import frozen

from peft_studio import redaction
from peft_studio.credentials import encrypted_file
from peft_studio.ledger import Ledger
from peft_studio.manager import ConnectorManager
from peft_studio.registry import ConnectorRegistry


@frozen
class Desk:
    """A ledger, and what managers need besides."""

    ledger: Ledger
    #: None finds the installed connectors.
    registry: ConnectorRegistry | None = None
    #: By connector name; None leaves them to the environment and to vaults.
    credentials: Mapping[str, Mapping[str, str]] | None = None
    #: True when the platform and its jobs end with this command.
    is_throwaway: bool = False

    def manager(self) -> ConnectorManager:
        """A manager; its connections belong to the event loop that opens them."""
        serve_one_person()
        return ConnectorManager(self.registry, self.ledger, credentials=self.credentials)


def serve_one_person() -> None:
    """Let secrets show up nowhere until this process ends, and let whoever sits at the terminal be asked for one."""
    redaction.keep_until_the_end()
    if sys.stdin is not None and sys.stdin.isatty():
        encrypted_file.ask_with(_ask_passphrase)


@cache
def _ask_passphrase(path: Path, is_new: bool) -> str:
    return str(click.prompt(f"Passphrase of {path}", hide_input=True, confirmation_prompt=is_new, err=True))
