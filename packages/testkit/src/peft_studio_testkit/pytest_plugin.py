"""`pytest --connector NAME`: checks an installed connector; `--compliance-report FILE` writes what came of it.

pytest loads this module at each start wherever the testkit is installed: everything else waits until it is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("peft-studio", "checks of PEFT Studio connectors")
    group.addoption(
        "--connector", action="append", default=[], metavar="NAME", help="Check this installed connector (repeatable)."
    )
    group.addoption(
        "--compliance-report", type=Path, metavar="FILE", help="Write compliance.json of the connector that is checked."
    )


def pytest_configure(config: pytest.Config) -> None:
    """With --connector and no paths, check that connector and collect nothing else."""
    if not config.getoption("connector"):
        return
    from peft_studio_testkit import installed

    chosen = config.invocation_params.args
    given = [argument for argument in config.args if argument in map(str, chosen)]
    config.args = [*given, str(Path(installed.__file__))]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """The suites of --connector come from a module of the testkit."""
    if file_path.name != "installed.py" or not parent.config.getoption("connector"):
        return None
    from peft_studio_testkit import installed

    if file_path != Path(installed.__file__):
        return None
    return installed.InstalledConnectors.from_parent(parent, path=file_path)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report."""
    file = session.config.getoption("compliance_report")
    if file is None:
        return
    from peft_studio_testkit.installed import write_report

    write_report(session.config, file)
