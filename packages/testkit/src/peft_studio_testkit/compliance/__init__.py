"""The checks of the interface: numbered levels, one sentence each, no silent skip.

A check is an async function on a `Subject`, which holds a connector class and the sandbox that it is tested against. It
is passed, failed, or an expected failure with a reason; there is nothing else.
"""

from __future__ import annotations

from peft_studio_testkit.compliance.check import LATEST_LEVEL, Check, CheckFailed, all_checks, checks_for
from peft_studio_testkit.compliance.report import Outcome, Report, Result
from peft_studio_testkit.compliance.runner import Runner
from peft_studio_testkit.compliance.subject import Subject

__all__ = [
    "LATEST_LEVEL",
    "Check",
    "CheckFailed",
    "Outcome",
    "Report",
    "Result",
    "Runner",
    "Subject",
    "all_checks",
    "checks_for",
]
