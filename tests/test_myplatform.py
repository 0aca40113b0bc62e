"""The plain connector: a class that knows nothing of PEFT Studio but its import lines is installed, and works."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

import pytest

from peft_studio import (
    ArtifactNotFound,
    ConnectionFailed,
    ConnectorManager,
    ConnectorRegistry,
    InvalidCredentials,
    JobStatus,
    UnsupportedCapability,
)
from peft_studio.policy import Policy

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "docs" / "examples" / "peft-studio-myplatform"
LINES = ["step 1", "", "步 2"]


@pytest.fixture(scope="module")
def platform(unpacked):
    """The sandbox, started once, and the folder in which its distribution is installed."""
    folder = str(unpacked(PROJECT))
    before = list(sys.path)
    sys.path.insert(0, folder)
    try:
        module = import_module("peft_studio_myplatform.sandbox")
        with module.MyPlatformSandbox() as sandbox:
            yield SimpleNamespace(folder=folder, sandbox=sandbox)
    finally:
        sys.path[:] = before


@pytest.fixture
def sandbox(platform):
    """The platform as if nothing had happened yet."""
    platform.sandbox.reset()
    return platform.sandbox


@pytest.fixture
async def manager(platform, sandbox):
    """A manager that has found the connector and is connected."""
    registry = ConnectorRegistry([platform.folder], Policy())
    async with ConnectorManager(registry, ledger=False) as manager:
        await manager.connect("myplatform", sandbox.credentials())
        yield manager


@pytest.fixture
async def job(manager, sandbox):
    """The id of a job that is done."""
    sandbox.script(lines=LINES)
    id = await manager.submit_job("myplatform", sandbox.training_config())
    sandbox.advance_until(id, JobStatus.COMPLETED)
    return id


def test_accepted_with_one_warning(platform):
    """Nothing has to be mended; the inference that it promises is worth a word."""
    (finding,) = ConnectorRegistry([platform.folder], Policy()).check("myplatform")

    assert "MyPlatformConnector sets supports_inference and has no method for it" == finding.message
    assert not finding.is_fault


async def test_the_key_is_asked_for(platform, sandbox):
    """Without the key that connector.json requires nobody is asked; a wrong one is refused by the platform."""
    manager = ConnectorManager(ConnectorRegistry([platform.folder], Policy()), ledger=False)
    for key, words in (("", "needs api_key"), ("wrong", "invalid API key")):
        with pytest.raises(InvalidCredentials, match=words):
            await manager.connect("myplatform", {**sandbox.credentials(), "api_key": key})
    assert 0 == sandbox.open_connections


async def test_disconnect_may_return_nothing(manager, sandbox):
    """That disconnect answers None is fine; the connection is gone."""
    await manager.disconnect("myplatform")

    assert not manager.is_connected("myplatform")
    assert 0 == sandbox.open_connections


async def test_everything_that_the_user_chose_arrives(manager, sandbox):
    """The platform gets the config in the words of TrainingConfig, the tag of the submission with it."""
    config = sandbox.training_config(rank=24, resource_id="gpu-l4", tag="ps-1")
    id = await manager.submit_job("myplatform", config)

    assert config.to_dict() == sandbox.jobs[id].received


async def test_a_plain_string_is_a_status(manager, sandbox):
    """What get_job_status answers becomes a JobStatus; a platform that cannot be asked is none."""
    id = await manager.submit_job("myplatform", sandbox.training_config())
    status = await manager.get_job_status("myplatform", id)

    assert (JobStatus.PENDING, JobStatus) == (status, type(status))
    sandbox.faults.add("refuse")
    with pytest.raises(ConnectionFailed):
        await manager.get_job_status("myplatform", id)


async def test_resources_have_prices(manager):
    """Resource and PricingInfo are made with the documented names; a price that JSON has as a float is exact."""
    first, *_ = await manager.list_resources("myplatform")
    price = await manager.get_pricing("myplatform", first.id)

    assert ("gpu-a100", "A100", 1, 80, True) == (
        first.id, first.gpu_type, first.gpu_count, first.vram_gb, first.available,
    )  # fmt: skip
    assert ("1.79", "USD", 60) == (str(price.hourly_rate), price.currency, price.billing_increment)


async def test_logs_are_events_too(manager, job):
    """The lines of the websocket come as they are, and as numbered events with the end after the last."""
    assert LINES == [line async for line in manager.stream_logs("myplatform", job)]
    events = [event async for event in manager.stream_events("myplatform", job, after=1)]
    assert [2, 3, 4] == [event.sequence for event in events]
    assert [*LINES[1:], "completed"] == [event.data.get("message", event.data.get("status")) for event in events]


async def test_bytes_become_a_folder(manager, sandbox, job, tmp_path):
    """It has no download_artifact: the bytes of fetch_artifact are unpacked."""
    folder = await manager.download_artifact("myplatform", job, tmp_path / "adapter")

    assert dict(sandbox.jobs[job].files) == {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_no_artifact_is_an_error(manager):
    """Its FileNotFoundError is ArtifactNotFound."""
    with pytest.raises(ArtifactNotFound):
        await manager.fetch_artifact("myplatform", "no-such-job")


async def test_a_file_is_uploaded(manager, sandbox, tmp_path):
    """Upload is there though no registry is declared."""
    file = tmp_path / "adapter.safetensors"
    file.write_bytes(bytes(range(256)))
    id = await manager.upload_artifact("myplatform", file, {"base_model": "tiny"})

    kept = sandbox.models[id]
    assert ({file.name: file.read_bytes()}, {"base_model": "tiny"}) == (kept.files, kept.metadata)


@pytest.mark.parametrize(("method", "argument"), [("cancel_job", "job-1"), ("deploy_model", "model-1")])
async def test_what_is_not_written_is_refused(manager, method, argument):
    """Cancelling, which it may leave out, and the inference that it promises are refused in one sentence."""
    with pytest.raises(
        UnsupportedCapability, match=r"^myplatform \(peft-studio-myplatform 1\.0\.0\): myplatform does not"
    ):
        await getattr(manager, method)("myplatform", argument)


@pytest.fixture(scope="module")
def fresh(wheel_of, tmp_path_factory):
    """Programs of a fresh environment into which pip has installed the wheels, and what the project's tests want."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    wheels = [wheel_of(path) for path in (ROOT / "packages/core", ROOT / "packages/testkit", PROJECT)]
    wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]["test"]
    done = subprocess.run(
        [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *wheels, *wanted],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    return folder / "bin"


@pytest.fixture
def installed(fresh, studio):
    """The command line of that environment, in an empty home."""
    studio.program = fresh / "peft-studio"
    return studio


@pytest.mark.slow
def test_installed_it_is_found(installed):
    """The list has it without an import, show tells what it needs, check ends well with its one warning."""
    (record,) = installed.json("connectors", "list")

    assert ("myplatform", "described", ["training", "inference"], []) == (
        record["name"], record["state"], record["features"], record["problems"],
    )  # fmt: skip
    assert "api_key" in installed("connectors", "show", "myplatform").stdout
    (finding,) = installed.json("connectors", "check", "myplatform")["findings"]
    assert "warning" == finding["severity"]


@pytest.mark.slow
def test_installed_it_passes_its_own_tests(fresh, tmp_path):
    """Every check of the interface is passed, or failed as expected_failures.py says; the sources are not there."""
    (tmp_path / "pyproject.toml").write_bytes((PROJECT / "pyproject.toml").read_bytes())
    (tmp_path / "test_myplatform.py").write_bytes((PROJECT / "tests" / "test_myplatform.py").read_bytes())
    report = tmp_path / "compliance.json"
    command = [fresh / "python", "-m", "pytest", "--compliance-report", report, "test_myplatform.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert 0 == done.returncode, done.stdout
    counts = json.loads(report.read_text(encoding="utf-8"))
    assert (0, 66) == (counts["failed"], counts["xfailed"])
    assert counts["passed"] > 100


@pytest.mark.slow
def test_installed_it_runs_jobs(installed, tmp_path):
    """A job goes from the command line to the sandbox and comes home, in the foreground and in steps."""
    config = tmp_path / "job.json"
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    config.write_text(json.dumps({"base_model": "tiny", "dataset_path": str(tmp_path / "data.jsonl")}))
    served = installed.start("sandbox", "start", "myplatform", "--speed", "100", "--quiet", "--json")
    guide = json.loads("".join([*takewhile(lambda line: line != "}\n", served.stdout), "}"]))
    installed.environment |= guide["variables"]

    watched = installed("run", config, "--on", "myplatform")
    assert "saving the adapter" in watched.stdout
    job = installed.submit(config, "--on", "myplatform")
    assert "saving the adapter" in installed("jobs", "logs", job, "--follow").stdout
    assert ["completed", "completed"] == [record["status"] for record in installed.json("jobs", "list")]
    installed("jobs", "pull", job, tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
