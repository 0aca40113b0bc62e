"""Runs checks: each on a sandbox that has forgotten everything, in an event loop of its own, with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory

from peft_studio import PeftStudioError
from peft_studio.paths import HOME_VARIABLE
from peft_studio_testkit.compliance.check import Check, CheckFailed, all_checks, checks_for
from peft_studio_testkit.compliance.report import Outcome, Report, Result
from peft_studio_testkit.compliance.subject import Subject


class Runner:
    """Runs the checks of one subject. Raises `ValueError` when it expects failures of checks that do not exist."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.checks = checks_for(subject)
        unknown = sorted(set(subject.sandbox.expected_failures) - {check.id for check in all_checks()})
        if unknown:
            raise ValueError(f"expected_failures names {', '.join(unknown)}, which is no check")

    def run(self, tell: Callable[[Result], None] | None = None) -> Report:
        """Run all of them; `tell` hears of each result at once."""
        results = []
        for result in self.results():
            results.append(result)
            if tell is not None:
                tell(result)
        return self.report(results)

    def results(self) -> Iterator[Result]:
        """Run one after the other."""
        for check in self.checks:
            yield self.result(check)

    def result(self, check: Check) -> Result:
        """Run one check and judge what came of it."""
        failure = self.failure(check)
        expected = self.subject.sandbox.expected_failures.get(check.id)
        if expected is None:
            return Result(check, Outcome.PASSED if failure is None else Outcome.FAILED, failure)
        if failure is None:
            return Result(check, Outcome.FAILED, f"it passes now: take it out of expected_failures ({expected})")
        return Result(check, Outcome.XFAILED, expected)

    def failure(self, check: Check) -> str | None:
        """Why the check fails; None when it passes."""
        self.subject.sandbox.reset()
        with TemporaryDirectory(prefix="peft-studio-check-") as home, self.subject.environment(**self._home(home)):
            try:
                asyncio.run(asyncio.wait_for(check.run(self.subject), self.subject.patience))
            except CheckFailed as error:
                return str(error)
            except PeftStudioError as error:
                return f"it raised {type(error).__name__}: {error}"
            except TimeoutError:
                return f"it had not ended after {self.subject.patience:g} s"
            except (Exception, SystemExit) as error:  # noqa: BLE001 -- a connector ends itself, not the run
                return f"it raised {type(error).__name__}: {error}"
        return None

    def _home(self, folder: str) -> dict[str, str]:
        """What core remembers of a platform, such as a rate limit, is forgotten before the next check."""
        return {HOME_VARIABLE: folder} if self.subject.is_remote else {}

    def report(self, results: list[Result]) -> Report:
        """The report of results that are there already."""
        record = self.subject.record
        return Report(
            connector=self.subject.name,
            distribution=None if record is None else record.distribution,
            version=getattr(self.subject.connector, "version", None),
            level=self.subject.level,
            features=self.subject.features,
            results=results,
        )
