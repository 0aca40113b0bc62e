"""What came of the checks, as data: `compliance.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from attrs import frozen

from peft_studio import __version__ as core_version
from peft_studio_testkit import __version__
from peft_studio_testkit.compliance.check import Check

_FORMAT = 1


class Outcome(StrEnum):
    """There is no fourth: nothing is skipped."""

    PASSED = "passed"
    FAILED = "failed"
    XFAILED = "xfailed"


@frozen
class Result:
    """One check and what came of it; `reason` says why it failed, or why that was expected."""

    check: Check
    outcome: Outcome
    reason: str | None = None


@frozen
class Report:
    """All results of one connector."""

    connector: str
    distribution: str | None
    version: str | None
    level: int
    features: tuple[str, ...]
    results: Sequence[Result]

    @property
    def is_compliant(self) -> bool:
        """True when nothing failed that was not expected to."""
        return bool(self.results) and not self.of(Outcome.FAILED)

    def of(self, outcome: Outcome) -> list[Result]:
        """Results with that outcome."""
        return [result for result in self.results if result.outcome is outcome]

    def to_dict(self) -> dict[str, Any]:
        """The shape of compliance.json."""
        return {
            "format": _FORMAT,
            "connector": self.connector,
            "distribution": self.distribution,
            "version": self.version,
            "features": list(self.features),
            "level": self.level,
            "core": core_version,
            "testkit": __version__,
            **{str(outcome): len(self.of(outcome)) for outcome in Outcome},
            "checks": [_row(result) for result in self.results],
        }

    def write(self, file: Path) -> None:
        """Write compliance.json."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        file.write_text(text, encoding="utf-8")


def _row(result: Result) -> dict[str, Any]:
    row = {"id": result.check.id, "level": result.check.level, "outcome": str(result.outcome)}
    return row if result.reason is None else {**row, "reason": result.reason}
