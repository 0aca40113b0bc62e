"""Checks of installed connectors, collected by `pytest --connector NAME`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path

import pytest

from peft_studio import ConnectorRegistry, PeftStudioError
from peft_studio_testkit.suite import REPORTS, ConnectorSuite


class InstalledConnectors(pytest.Module):
    """One suite for each connector that was named."""

    def _getobj(self) -> object:
        suites = {}
        for name in self.config.getoption("connector"):
            suite = suite_of(name)
            suites[suite.__name__] = suite
        return type("installed", (), suites)

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """The suites, as pytest would find them in a file."""
        for name, suite in inspect.getmembers(self.obj, inspect.isclass):
            if issubclass(suite, ConnectorSuite):
                yield pytest.Class.from_parent(self, name=name)


def suite_of(name: str) -> type[ConnectorSuite]:
    """The suite of one installed connector. Raises a `CollectError` that pytest shows as it is when there is none."""
    try:
        connector = ConnectorRegistry().activate(name)
        return type(f"Test{connector.__name__}", (ConnectorSuite,), {"connector": connector})
    except PeftStudioError as error:
        remedy = f"\n  try: {error.remedy}" if error.remedy else ""
        raise pytest.Collector.CollectError(f"--connector {name}: {error}{remedy}") from error


def write_report(config: pytest.Config, file: Path) -> None:
    """Write compliance.json; a run that checked several connectors needs one file for each."""
    reports = [report() for report in config.stash.get(REPORTS, [])]
    for report in reports:
        target = file if len(reports) == 1 else file.with_name(f"{file.stem}-{report.connector}{file.suffix}")
        report.write(target)
