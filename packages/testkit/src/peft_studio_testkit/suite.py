"""`ConnectorSuite`: the checks as tests of a test file.

    class TestAcme(ConnectorSuite):
        connector = AcmeConnector

The tests are chosen when the class is made, from what the connector declares. None can be overridden: an exception is
written into the sandbox's `expected_failures`, with its reason, where everybody sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from peft_studio import PlatformConnector
from peft_studio_testkit.compliance import Check, Outcome, Report, Result, Runner, Subject, all_checks
from peft_studio_testkit.sandbox import Sandbox, find_sandbox

#: Reports of the suites of this run, for `--compliance-report`.
REPORTS: pytest.StashKey[list[Callable[[], Report]]] = pytest.StashKey()


class ConnectorSuite:
    """All checks of one connector. Set `connector`; the sandbox is found through its entry point unless it is given."""

    connector: ClassVar[type[PlatformConnector]]
    sandbox: ClassVar[type[Sandbox] | None] = None
    #: Compliance level; None takes what the sandbox pins.
    level: ClassVar[int | None] = None

    _runner: ClassVar[Runner]
    _results: ClassVar[list[Result]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if getattr(cls, "connector", None) is None:
            return
        names = {f"test_{check.id.replace('-', '_')}" for check in all_checks()}
        own = sorted(names & set(vars(cls)))
        if own:
            raise TypeError(f"{cls.__name__} overrides {', '.join(own)}; write a reason into expected_failures instead")
        sandbox = cls.sandbox or find_sandbox(cls.connector.name)
        cls._runner = Runner(Subject(cls.connector, sandbox(), level=cls.level))
        cls._results = []
        for check in cls._runner.checks:
            setattr(cls, f"test_{check.id.replace('-', '_')}", _test(check))

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _started_sandbox(cls, request: pytest.FixtureRequest) -> Iterator[None]:
        request.config.stash.setdefault(REPORTS, []).append(lambda: cls._runner.report(cls._results))
        with cls._runner.subject.sandbox:
            yield


def _test(check: Check) -> Callable[[ConnectorSuite], None]:
    def test(self: ConnectorSuite) -> None:
        result = self._runner.result(check)
        self._results.append(result)
        judge(result)

    test.__doc__ = check.doc
    test.__name__ = f"test_{check.id.replace('-', '_')}"
    return test


def judge(result: Result) -> None:
    """Tell pytest what came of a check."""
    __tracebackhide__ = True
    if result.outcome is Outcome.FAILED:
        pytest.fail(f"{result.check.id}: {result.reason}\n\n{result.check.doc}", pytrace=False)
    if result.outcome is Outcome.XFAILED:
        pytest.xfail(str(result.reason))
