"""A rendering as its author's users get it: built, installed afresh, found, described, checked, used."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from peft_studio.records import FEATURES
from peft_studio_testkit.scaffold.render import TEMPLATE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[4]

JOB = """
import asyncio, sys
from pathlib import Path
from peft_studio import ConnectorManager, JobStatus
from peft_studio.artifacts import verify
from peft_studio_testkit.sandbox import find_sandbox

async def main(sandbox, folder):
    async with ConnectorManager() as manager:
        await manager.connect("acme", sandbox.credentials())
        job = await manager.submit_job("acme", sandbox.training_config())
        await asyncio.to_thread(sandbox.advance_until, job, JobStatus.COMPLETED)
        lines = [line async for line in manager.stream_logs("acme", job)]
        assert lines == sandbox.jobs[job].lines, lines
        assert await manager.find_job("acme", sandbox.jobs[job].tag) == job
        verify(await manager.download_artifact("acme", job, folder))
        print(await manager.get_job_status("acme", job))

with find_sandbox("acme")() as sandbox:
    asyncio.run(main(sandbox, Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def project(environment, build_wheel, tmp_path_factory) -> Path:
    """What the command of the installed testkit wrote, installed beside it."""
    folder = tmp_path_factory.mktemp("author") / "peft-studio-acme"
    features = [word for feature in FEATURES for word in ("--feature", feature)]
    environment.run("-m", "peft_studio.cli", "connectors", "new", "acme", "--out", folder, *features)
    environment.install(build_wheel(folder))
    return folder


def test_testkit_ships_its_templates(tmp_path, build_wheel):
    """Every one of them, hidden ones too, is in the wheel and in the archive of the sources."""
    expected = {path.relative_to(TEMPLATE).as_posix() for path in TEMPLATE.rglob("*.jinja")}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT / "packages" / "testkit")
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as sources:
        in_sources = sources.getnames()
    with zipfile.ZipFile(build_wheel(ROOT / "packages" / "testkit")) as archive:
        in_wheel = archive.namelist()

    for names in (in_sources, in_wheel):
        assert expected == {name.partition("/scaffold/template/")[2] for name in names if name.endswith(".jinja")}


def test_wheel_has_everything(project, build_wheel):
    """Manifest, type marker and code are in the wheel of a connector."""
    with zipfile.ZipFile(build_wheel(project)) as archive:
        names = {name.removeprefix("peft_studio_acme/") for name in archive.namelist()}

    assert {
        "__init__.py",
        "api.py",
        "connector.json",
        "connector.py",
        "files.py",
        "plugin.py",
        "py.typed",
        "sandbox.py",
    } <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_is_found_and_described_without_an_import(environment, project):
    """`connectors list` and `show` read the manifest, and know it from there."""
    command = "import json, sys; from peft_studio import ConnectorRegistry; records = ConnectorRegistry().list(); "
    command += "print(json.dumps([[r.to_dict() for r in records], [n for n in sys.modules if 'acme' in n]]))"
    (record,), imported = json.loads(environment.run("-c", command).stdout)
    listed = json.loads(environment.run("-m", "peft_studio.cli", "connectors", "list", "--json").stdout)
    shown = json.loads(environment.run("-m", "peft_studio.cli", "connectors", "show", "acme", "--json").stdout)

    assert ([], "described", [], list(FEATURES)) == (
        imported, record["state"], record["problems"], record["features"],
    )  # fmt: skip
    assert ["acme"] == [each["name"] for each in listed]
    assert ["api_key"] == shown["credentials"]


def test_it_has_nothing_to_mend(environment, project):
    """`connectors check` imports it and finds nothing."""
    found = json.loads(environment.run("-m", "peft_studio.cli", "connectors", "check", "acme", "--json").stdout)

    assert [] == found["findings"]


def test_a_whole_job_through_the_manager(environment, project, tmp_path):
    """Connected, submitted, followed, found by its tag, and its adapter brought home."""
    assert "completed\n" == environment.run("-c", JOB, tmp_path / "adapter").stdout
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()


def test_its_own_tests_pass(environment, project):
    """`pytest` in the new project: every check of the suite, none skipped, none expected to fail."""
    done = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    verdict = done.stdout.splitlines()[-1]

    assert int(verdict.split()[0]) > 200
    assert not {"skipped", "xfailed", "warnings"} & set(verdict.replace(",", "").split())
