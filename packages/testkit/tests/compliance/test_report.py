"""compliance.json."""

from __future__ import annotations

import json
from pathlib import Path

from tiny import TinyConnector, TinySandbox, check

from peft_studio import __version__ as core_version
from peft_studio_testkit import __version__
from peft_studio_testkit.compliance import Outcome, Report, Result, Runner, Subject


async def _nothing(subject: Subject) -> None:
    pass


def _report(*outcomes: Outcome) -> Report:
    subject = Subject(TinyConnector, TinySandbox())
    reasons = {Outcome.PASSED: None, Outcome.FAILED: "it is as it is", Outcome.XFAILED: "the platform has none – 無"}
    results = [Result(check(_nothing, id=f"check-{n}"), each, reasons[each]) for n, each in enumerate(outcomes)]
    return Runner(subject).report(results)


def test_shape(tmp_path: Path) -> None:
    """The file says who was checked with what, the numbers, and each check with its reason."""
    _report(Outcome.PASSED, Outcome.FAILED, Outcome.XFAILED).write(tmp_path / "compliance.json")
    assert {
        "format": 1,
        "connector": "tiny",
        "distribution": None,
        "version": "1.0.0",
        "features": [],
        "level": 1,
        "core": core_version,
        "testkit": __version__,
        "passed": 1,
        "failed": 1,
        "xfailed": 1,
        "checks": [
            {"id": "check-0", "level": 1, "outcome": "passed"},
            {"id": "check-1", "level": 1, "outcome": "failed", "reason": "it is as it is"},
            {"id": "check-2", "level": 1, "outcome": "xfailed", "reason": "the platform has none – 無"},
        ],
    } == json.loads((tmp_path / "compliance.json").read_text(encoding="utf-8"))


def test_compliance() -> None:
    """Expected failures are compliant; a failure is not, and neither is a report of nothing."""
    assert _report(Outcome.PASSED, Outcome.XFAILED).is_compliant
    assert not _report(Outcome.PASSED, Outcome.FAILED).is_compliant
    assert not _report().is_compliant
