"""What `auth login` is told: by a person, field by field, or by a program, through a pipe; and whether it is true."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from peft_studio.errors import ConnectionFailed, InvalidConfig, PeftStudioError
from peft_studio.manifest import Credential, Manifest
from peft_studio.redaction import hold
from peft_studio.secret import Secret

if TYPE_CHECKING:
    from peft_studio.registry import ConnectorRegistry

Fields = Mapping[str, Secret]


def ask(manifest: Manifest) -> Fields:
    """Each credential, asked for on the terminal; secrets are not echoed, optional ones may be left out."""
    if manifest.documentation_url:
        click.echo(f"{manifest.display_name}: {manifest.documentation_url}", err=True)
    answers = {credential.key: _answer(credential).strip() for credential in manifest.credentials}
    return _held(manifest, {key: answer for key, answer in answers.items() if answer})


def read(manifest: Manifest, content: str) -> Fields:
    """The secret itself, or a JSON object of several fields. Raises `InvalidConfig`, and repeats nothing of it."""
    text = content.strip()
    if not text:
        raise InvalidConfig("nothing came from stdin")
    known = [credential.key for credential in manifest.credentials]
    given = _object(text) if text.startswith("{") else None
    if given is None:
        given = {_only_field(manifest): text}
    unknown = [key for key in given if key not in known]
    if unknown:
        raise InvalidConfig(f"{manifest.name} has no field {unknown[0]!r}", remedy=f"its fields: {', '.join(known)}")
    for key, value in given.items():
        if not isinstance(value, str) or not value.strip():
            raise InvalidConfig(f"{key} must be a text that is not empty")
    missing = [each.key for each in manifest.credentials if each.required and each.key not in given]
    if missing:
        raise InvalidConfig(f"{manifest.name} needs {' and '.join(missing)} too")
    return _held(manifest, {key: value.strip() for key, value in given.items()})


async def verify(registry: ConnectorRegistry, name: str, fields: Fields) -> None:
    """Connect with them, once. Raises what `connect` raises, and says that nothing was stored."""
    from peft_studio.manager import ConnectorManager

    given: dict[str, Any] = dict(fields)
    try:
        async with ConnectorManager(registry, ledger=False) as manager:
            await manager.connect(name, given)
    except PeftStudioError as error:
        way = "with --no-verify they are stored untried" if isinstance(error, ConnectionFailed) else error.remedy
        error.remedy = f"nothing was stored; {way}" if way else "nothing was stored"
        raise


def _answer(credential: Credential) -> str:
    hint = f" ({credential.description})" if credential.description else ""
    optional = "" if credential.required else " [Enter for none]"
    answer: str = click.prompt(
        f"{credential.display_name or credential.key}{hint}{optional}",
        default=None if credential.required else "",
        show_default=False,
        hide_input=credential.secret,
        err=True,
    )
    return answer


def _object(text: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(text)  # it begins with a brace
    except (ValueError, RecursionError):
        raise InvalidConfig("what came from stdin begins like JSON and is none") from None
    return document


def _only_field(manifest: Manifest) -> str:
    """The field that a lone secret is for."""
    required = [credential.key for credential in manifest.credentials if credential.required]
    candidates = required or [credential.key for credential in manifest.credentials]
    if len(candidates) == 1:
        return candidates[0]
    example = ", ".join(f'"{key}": "..."' for key in candidates)
    raise InvalidConfig(f"{manifest.name} needs {' and '.join(candidates)}", remedy=f"give them as {{{example}}}")


def _held(manifest: Manifest, given: Mapping[str, str]) -> Fields:
    fields = {key: Secret(value) for key, value in given.items()}
    hold(fields[each.key] for each in manifest.credentials if each.secret and each.key in fields)
    return fields
