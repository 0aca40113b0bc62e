"""Broken plugins: each is one clear record, says what to mend, and costs the others nothing.

Every case is a real distribution in a real site directory, looked at by a fresh process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

LOOK = """
import asyncio, json, sys
from peft_studio import ConnectorManager, ConnectorRegistry, TrainingConfig
site, limit, packages = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
registry = ConnectorRegistry([site], import_limit=limit)
seen = lambda: {record.name: record.to_dict() for record in registry.list()}
listed = seen()
imported = [name for name in packages if name in sys.modules]

async def use_the_other() -> str:
    async with ConnectorManager(registry, ledger=False) as manager:
        await manager.connect("good")
        config = TrainingConfig(base_model="m", dataset_path="d", tag="t")
        return await manager.submit_job("good", config)

job = asyncio.run(use_the_other())
findings = [(finding.severity, finding.message, finding.remedy) for finding in registry.check("acme")]
print(json.dumps({"listed": listed, "imported": imported, "job": job, "findings": findings, "after": seen()}))
"""

REINSTALL = "reinstall it: pip install --force-reinstall peft-studio-acme"
REPORT = "report it to the author of peft-studio-acme"
ALIKE = "make them say the same"


PRICING = '    async def get_pricing(self, resource_id): return PricingInfo(hourly_rate="0.5")\n'
STATUS = "    async def get_job_status(self, job_id): return JobStatus.RUNNING\n"
FLAGGED = {"TrainingConnector": "PlatformConnector", "    name =": "    supports_training = True\n    name ="}


def delivering(*body: str) -> str:
    """A plugin module whose delivery hook has this body."""
    lines = "\n".join(f"    {line}" for line in body)
    return f"from peft_studio import hookimpl\n\n@hookimpl\ndef peft_studio_connector():\n{lines}\n"


@frozen(kw_only=True)
class Case:
    """How to break a plugin, and what must be said about it."""

    id: str
    build: Callable[[Any], object]
    message: str
    remedy: str
    #: State in a list that is made before anything was imported.
    listed: str = "described"
    #: Seconds that an import may take.
    limit: float = 10


WORKING = delivering("from PACKAGE.connector import Connector", "return Connector")


def two_claims(site: Any) -> None:
    """Two distributions, one name."""
    site.add()
    site.add(distribution="other-acme", version="2.0.0")


CASES = [
    Case(
        id="raises at import",
        build=lambda site: site.add(plugin="raise RuntimeError('no such device')"),
        message="importing PACKAGE.plugin raised RuntimeError: no such device",
        remedy=REPORT,
    ),
    Case(
        id="needs a module that is not there",
        build=lambda site: site.add(plugin="import surely_not_installed"),
        message="importing PACKAGE.plugin raised ModuleNotFoundError: No module named 'surely_not_installed'",
        remedy="reinstall it with what it needs: pip install --force-reinstall peft-studio-acme",
    ),
    Case(
        id="package raises at import",
        build=lambda site: site.add(init="1 / 0"),
        message="importing PACKAGE.plugin raised ZeroDivisionError: division by zero",
        remedy=REPORT,
    ),
    Case(
        id="syntax error",
        build=lambda site: site.add(plugin="def broken(:"),
        message="importing PACKAGE.plugin raised SyntaxError: invalid syntax (plugin.py, line 1)",
        remedy=REPORT,
    ),
    Case(
        id="SystemExit at import",
        build=lambda site: site.add(plugin="raise SystemExit(0)"),
        message="importing PACKAGE.plugin raised SystemExit: 0",
        remedy=f"a plugin must not end the program; {REPORT}",
    ),
    Case(
        id="hangs at import",
        build=lambda site: site.add(plugin="import threading; threading.Event().wait()"),
        message="importing PACKAGE.plugin gave no answer after 1 s",
        remedy="move slow work out of the import, into connect",
        limit=1,
    ),
    Case(
        id="prints and sleeps at import",
        build=lambda site: site.add(plugin="print('Loading', 3, 'models'); import time; time.sleep(0.1)\n" + WORKING),
        message="importing PACKAGE.plugin printed 'Loading 3 models', which would spoil the output of every command",
        remedy="remove the print, or use logging",
    ),
    Case(
        id="wrong type from the hook",
        build=lambda site: site.add(plugin=delivering("return 42")),
        message="peft_studio_connector returned 42 (int); it must return the connector class",
        remedy="return the class",
    ),
    Case(
        id="an instance from the hook",
        build=lambda site: site.add(plugin=delivering("from PACKAGE.connector import Connector", "return Connector()")),
        message="peft_studio_connector returned an instance of Connector; it must return the class",
        remedy="return Connector, not Connector()",
    ),
    Case(
        id="hook returns None",
        build=lambda site: site.add(plugin=delivering("pass")),
        message="peft_studio_connector returned None; it must return the connector class",
        remedy="return the class",
    ),
    Case(
        id="hook raises",
        build=lambda site: site.add(plugin=delivering("raise KeyError('token')")),
        message="peft_studio_connector raised KeyError: 'token'",
        remedy=REPORT,
    ),
    Case(
        id="hook misspelt",
        build=lambda site: site.add(
            plugin="from peft_studio import hookimpl\n@hookimpl\ndef peft_studio_conector(): ..."
        ),
        message="peft_studio_conector is marked as a hook, but there is no hook of that name",
        remedy="did you mean peft_studio_connector?",
    ),
    Case(
        id="hook not marked",
        build=lambda site: site.add(plugin="def peft_studio_connector(): ..."),
        message="peft_studio_connector is not marked as a hook",
        remedy="write @hookimpl above def peft_studio_connector",
    ),
    Case(
        id="hook with wrong arguments",
        build=lambda site: site.add(plugin=delivering("pass").replace("_connector()", "_connector(registry)")),
        message="peft_studio_connector asks for registry, which the hook does not pass",
        remedy="write def peft_studio_connector(); leave out what you do not need",
    ),
    Case(
        id="no hook at all",
        build=lambda site: site.add(plugin="answer = 42"),
        message="PACKAGE.plugin does not implement peft_studio_connector",
        remedy="write it, or, for a plugin with hooks alone, list them under hooks in connector.json and no features",
    ),
    Case(
        id="missing method",
        build=lambda site: site.add(swap={STATUS: "", **FLAGGED}),
        message="Connector.get_job_status is missing; supports_training declares it",
        remedy="write async def get_job_status(self, job_id)",
    ),
    Case(
        id="abstract method missing",
        build=lambda site: site.add(swap={PRICING: ""}),
        message="Connector.get_pricing is missing; supports_training declares it",
        remedy="write async def get_pricing(self, resource_id)",
    ),
    Case(
        id="attribute missing",
        build=lambda site: site.add(swap={'    version = "1.0.0"\n': ""}),
        message="Connector.version is missing",
        remedy='write version = "..." in the class',
    ),
    Case(
        id="sync method where async is due",
        build=lambda site: site.add(swap={"async def submit_job": "def submit_job"}),
        message="Connector.submit_job is synchronous; it must be async",
        remedy="write async def submit_job(self, config)",
    ),
    Case(
        id="sync generator of logs",
        build=lambda site: site.add(swap={"async def stream_logs": "def stream_logs"}),
        message="Connector.stream_logs is synchronous; it must be an async generator or return an async iterator",
        remedy="write async def stream_logs(self, job_id)",
    ),
    Case(
        id="wrong argument names",
        build=lambda site: site.add(swap={"destination): return Path(destination)": "folder): return Path(folder)"}),
        message="Connector.download_artifact takes (job_id, folder), not (job_id, destination)",
        remedy="write async def download_artifact(self, job_id, destination)",
    ),
    Case(
        id="constructor wants something",
        build=lambda site: site.add(swap={"    name =": "    def __init__(self, session): ...\n    name ="}),
        message="Connector cannot be made without arguments (missing a required argument: 'session')",
        remedy="give the arguments of __init__ defaults; credentials come with connect",
    ),
    Case(
        id="manifest disagrees on the display name",
        build=lambda site: site.add(changes={"display_name": "ACME"}),
        message="display_name is 'ACME' in connector.json and 'The acme platform' in Connector",
        remedy=ALIKE,
    ),
    Case(
        id="manifest disagrees on a feature",
        build=lambda site: site.add(changes={"features": {"training": True, "registry": True}}),
        message="features.registry is True in connector.json and False in Connector.supports_registry",
        remedy=ALIKE,
    ),
    Case(
        id="manifest promises a hook",
        build=lambda site: site.add(changes={"hooks": ["peft_studio_job_event"]}),
        message="connector.json lists the hook peft_studio_job_event, "
        "but the plugin does not implement peft_studio_job_event",
        remedy="write peft_studio_job_event, or take it off the list",
    ),
    Case(
        id="manifest has another name",
        build=lambda site: site.add(changes={"name": "acne"}),
        message="name is 'acme' in the entry point and 'acne' in connector.json",
        remedy=ALIKE,
        listed="broken",
    ),
    Case(
        id="manifest is not JSON",
        build=lambda site: site.add(manifest=b'{"name": "acme",}'),
        message="connector.json: is not JSON: line 1, column 17: Expecting property name enclosed in double quotes",
        remedy="mend the file at that place",
        listed="broken",
    ),
    Case(
        id="manifest is not UTF-8",
        build=lambda site: site.add(manifest='{"name": "acmé"}'.encode("latin-1")),
        message="connector.json: is not UTF-8 (byte 13)",
        remedy="save it as UTF-8",
        listed="broken",
    ),
    Case(
        id="manifest with a wrong type inside",
        build=lambda site: site.add(changes={"credentials": [{"key": "token"}, {"key": "team", "required": "yes"}]}),
        message="connector.json: credentials[1].required must be true or false, not 'yes'",
        remedy="see docs/reference/plugins.md for the fields",
        listed="broken",
    ),
    Case(
        id="two distributions with one name",
        build=two_claims,
        message="the name acme is claimed by other-acme 2.0.0 and peft-studio-acme 1.0.0",
        remedy="peft-studio connectors pin acme other-acme, or uninstall all but one",
        listed="ambiguous",
    ),
    Case(
        id="needs a newer core",
        build=lambda site: site.add(requires=["peft-studio>=99,<100"]),
        message="it needs peft-studio <100,>=99, and this is peft-studio 0.1.0",
        remedy="pip install --upgrade 'peft-studio<100,>=99'",
        listed="broken",
    ),
    Case(
        id="needs an older core",
        build=lambda site: site.add(requires=["PEFT.Studio<0.1"]),
        message="it needs peft-studio <0.1, and this is peft-studio 0.1.0",
        remedy="pip install --upgrade peft-studio-acme",
        listed="broken",
    ),
    Case(
        id="needs a newer plugin interface",
        build=lambda site: site.add(changes={"api_version": 7}),
        message="connector.json asks for plugin interface 7, and this is 0",
        remedy="pip install --upgrade peft-studio",
        listed="broken",
    ),
    Case(
        id="entry point to nowhere",
        build=lambda site: site.add(value="not_there.plugin"),
        message="its entry point names the module not_there.plugin, but there is no package not_there",
        remedy=REINSTALL,
        listed="broken",
    ),
    Case(
        id="entry point to a missing module",
        build=lambda site: site.add(value="PACKAGE.plug"),
        message="its entry point names the module PACKAGE.plug, but there is no module PACKAGE.plug",
        remedy=REINSTALL,
        listed="broken",
    ),
    Case(
        id="entry point empty",
        build=lambda site: site.add(value=""),
        message="its entry point is empty; it must name the plugin module",
        remedy=REPORT,
        listed="broken",
    ),
    Case(
        id="entry point to an object",
        build=lambda site: site.add(value="PACKAGE.connector:Connector"),
        message="its entry point is 'PACKAGE.connector:Connector'; it must name a module, such as PACKAGE.plugin",
        remedy=REPORT,
        listed="broken",
    ),
]


def look(site: Any, limit: float, home: Path) -> dict[str, Any]:
    """What a fresh process says: the list, what that imported, the check, the list after it."""
    command = [sys.executable, "-c", LOOK, str(site.root), str(limit), *site.packages]
    environment = {**os.environ, "PEFT_STUDIO_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id.replace(" ", "-"))
def test_a_broken_plugin_is_one_clear_record(case: Case, site: Any, home: Path) -> None:
    """It is listed without an import, checked with the exact sentence and remedy, shown broken after; others work."""
    site.add("good")
    case.build(site)
    filled = [
        text.replace("PACKAGE", site.packages[1]).replace("HOME", str(home)) for text in (case.message, case.remedy)
    ]

    seen = look(site, case.limit, home)

    assert [] == seen["imported"]
    assert case.listed == seen["listed"]["acme"]["state"]
    assert ["fault", *filled] in seen["findings"]
    assert {"ambiguous": "ambiguous"}.get(case.listed, "broken") == seen["after"]["acme"]["state"]
    assert [filled[0]] == seen["after"]["acme"]["problems"]
    assert "described" == seen["listed"]["good"]["state"]
    assert "active" == seen["after"]["good"]["state"]
    assert "job-of-t" == seen["job"]
