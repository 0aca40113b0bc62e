"""`peft-studio sandbox` and `run --sandbox`, with a connector that ships a sandbox, as a user types them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ACME = Path(__file__).parent / "acme" / "peft_studio_acme"


@pytest.fixture
def site(tmp_path):
    """A directory of installed distributions: the connector acme with its sandbox."""
    folder = tmp_path / "site"
    shutil.copytree(ACME, folder / "peft_studio_acme", ignore=shutil.ignore_patterns("__pycache__"))
    _describe(folder, "peft-studio-acme")
    return folder


def _describe(folder: Path, distribution: str, sandbox: str = "peft_studio_acme.sandbox:AcmeSandbox") -> None:
    """The metadata that an installer would leave."""
    metadata = folder / f"{distribution.replace('-', '_')}-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.1.0\n")
    connector = "[peft_studio.connectors]\nacme = peft_studio_acme.plugin\n" if "other" not in distribution else ""
    (metadata / "entry_points.txt").write_text(f"{connector}[peft_studio.sandboxes]\nacme = {sandbox}\n")


@pytest.fixture
def studio(studio, site):
    """The command line where acme is installed."""
    temporary = site.with_name("temporary")
    temporary.mkdir()
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    studio.environment |= {"PYTHONPATH": path, "TMPDIR": str(temporary)}
    return studio


@pytest.fixture
def started(studio):
    """Starts the sandbox and returns its process and what it said of itself."""

    def start(*arguments: str):
        process = studio.start("sandbox", "start", "acme", "--json", *arguments)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        return process, json.loads("".join(lines))

    return start


def _get(address: str, key: str) -> object:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _end(process: subprocess.Popen[str], number: int) -> str:
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    return rest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_serves_until_it_is_told_to_stop(started, number):
    """The address answers, each request is told, and Ctrl-C or SIGTERM ends it in good order."""
    process, guide = started()
    assert [] == _get(f"{guide['url']}/v1/jobs", guide["credentials"]["api_key"])
    rest = _end(process, number)
    assert (0, "GET /v1/jobs 200\nstopped\n") == (process.returncode, rest)
    with pytest.raises(urllib.error.URLError):
        _get(f"{guide['url']}/v1/jobs", "x")


def test_start_says_how_to_point_programs_at_it(started):
    """Credentials under the variables of connector.json, and what the platform's own client needs."""
    process, guide = started("--quiet")
    key, url = guide["credentials"]["api_key"], guide["url"]
    assert {"ACME_API_KEY": key, "ACME_BASE_URL": url} == guide["variables"]
    assert {"ACME_HOME": f"{url}/home sweet"} == guide["environment"]
    _get(f"{url}/v1/jobs", key)
    assert "stopped\n" == _end(process, signal.SIGINT)


def test_start_for_people(studio):
    """Lines to paste into a shell."""
    process = studio.start("sandbox", "start", "acme")
    said = [process.stdout.readline() for _ in range(9)]
    _end(process, signal.SIGINT)
    assert said[0].startswith("the sandbox of acme is at http://127.0.0.1:")
    assert said[3].startswith("  export ACME_API_KEY=key-")
    assert "  peft-studio run job.toml --on acme\n" == said[5]
    assert said[8].startswith("  export ACME_HOME='http://127.0.0.1:")
    assert said[8].endswith("/home sweet'\n")


def test_a_connector_finds_the_sandbox_by_the_variables(studio, started, write_config):
    """What is printed works: another process submits a job and follows it to its end."""
    process, guide = started("--speed", "100")
    studio.environment |= guide["variables"]
    done = studio("run", write_config(), "--on", "acme", "--out", "adapter")
    _end(process, signal.SIGINT)
    assert "step 3/3  loss 1.5511  — ünïcödé ✓ 日本語" in done.stdout
    assert (studio.home / "adapter" / "adapter_config.json").is_file()


def test_list(studio):
    """Name, distribution and entry point, and nothing is imported."""
    (studio.home.parent / "site/peft_studio_acme/__init__.py").write_text("raise SystemExit('imported')")
    rows = {row["name"]: row for row in studio.json("sandbox", "list")}
    assert ("peft-studio-acme", "peft_studio_acme.sandbox:AcmeSandbox") == (
        rows["acme"]["distribution"], rows["acme"]["entry_point"],
    )  # fmt: skip
    assert "acme" in studio("sandbox", "list").stdout


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("acmee", 9, ["acmee", "did you mean acme"]),
        ("local", 6, ["has no server", "run CONFIG --on local --sandbox"]),
    ],
)
def test_start_refuses_in_a_sentence(studio, name, code, words):
    """An unknown name, and a sandbox that is no server."""
    said = studio("sandbox", "start", name, code=code).stderr
    assert [] == [word for word in words if word not in said]


def test_a_port_that_is_taken(studio, started):
    """One sentence."""
    _, guide = started()
    port = guide["url"].rpartition(":")[2]
    said = studio("sandbox", "start", "acme", "--port", port, code=3).stderr
    assert f"port {port} cannot be used" in said


def test_a_denied_sandbox_is_not_imported(studio):
    """Policy counts before the import."""
    (studio.home.parent / "site/peft_studio_acme/__init__.py").write_text("raise SystemExit('imported')")
    studio.environment["PEFT_STUDIO_PLUGINS_DENY"] = "peft-studio-acme"
    said = studio("sandbox", "start", "acme", code=10).stderr
    assert "was not imported" in said
    assert "is denied" in said


def test_two_sandboxes_of_one_name(studio, site):
    """Refused with both names, until one is pinned."""
    _describe(site, "peft-studio-other")
    said = studio("sandbox", "start", "acme", code=10).stderr
    assert "claimed by" in said
    assert "peft-studio-other 0.1.0" in said
    settings = studio.home / "config" / "settings.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('[plugins.pin]\nacme = "peft-studio-acme"\n')
    process = studio.start("sandbox", "start", "acme")
    assert "the sandbox of acme is at" in process.stdout.readline()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("peft_studio_acme.sandbax:AcmeSandbox", "ModuleNotFoundError"),
        ("peft_studio_acme.sandbox:Nothing", "AttributeError"),
        ("peft_studio_acme.connector:AcmeConnector", "is no Sandbox class"),
    ],
)
def test_a_broken_sandbox_is_told(studio, site, entry, words):
    """The import's own error, in a sentence that names the distribution."""
    shutil.rmtree(site / "peft_studio_acme-0.1.0.dist-info")
    _describe(site, "peft-studio-acme", sandbox=entry)
    said = studio("sandbox", "start", "acme", code=10).stderr
    assert words in said
    assert "acme (peft-studio-acme 0.1.0)" in said


@pytest.mark.slow
def test_run_at_the_sandbox_trains_and_brings_the_adapter_home(studio, write_config):
    """A real training behind a pretended platform; the user's ledger never hears of it, and nothing stays."""
    done = studio("run", write_config(), "--on", "acme", "--sandbox", "--out", "adapter")
    assert f"adapter: {studio.home / 'adapter'}\n" == done.stdout.splitlines(keepends=True)[-1]
    assert re.search(r"^step \d+/\d+  loss \d", done.stdout, re.MULTILINE)
    assert 1 == done.stdout.count("job completed\n")
    assert (studio.home / "adapter" / "adapter_model.safetensors").is_file()
    assert not (studio.home / "data" / "ledger.sqlite3").exists()
    assert [] == _left_behind(studio)


@pytest.mark.slow
def test_run_at_the_sandbox_of_this_machine(studio, write_config):
    """The local connector's sandbox is a home that is thrown away."""
    result = studio.json("run", write_config(), "--on", "local", "--sandbox", "--out", "adapter")
    assert ("completed", str(studio.home / "adapter")) == (result["status"], result["adapter"])
    assert not (studio.home / "data").exists()


@pytest.mark.slow
def test_run_at_the_sandbox_without_a_place_for_the_adapter(studio, write_config):
    """It is said that the adapter is gone, and how to keep the next one."""
    said = studio("run", write_config(), "--on", "acme", "--sandbox").stdout
    assert "the adapter is gone with the sandbox; keep the next one: --out DIR" in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_a_run_at_the_sandbox(studio, write_config, number):
    """Ctrl-C and SIGTERM cancel: a job that nobody could find again must not go on."""
    config = write_config(max_steps=100_000, num_epochs=100_000)
    process = studio.start("run", config, "--on", "acme", "--sandbox")
    for line in process.stdout:
        if line.startswith("step 2/"):
            break
    rest = _end(process, number)
    assert 11 == process.returncode
    assert "cancelled" in rest
    assert "jobs resume" not in rest
    assert [] == _left_behind(studio)


@pytest.mark.slow
def test_a_job_that_fails_at_the_sandbox(studio, write_config):
    """The trainer's reason is told, with the exit code of a failed job."""
    done = studio("run", write_config(max_seq_length=8), "--on", "acme", "--sandbox", "--out", "adapter", code=7)
    assert "failed" in done.stderr
    assert not (studio.home / "adapter").exists()


def test_what_run_at_the_sandbox_refuses(studio, write_config):
    """Detaching, and an output folder that is not empty: both before anything starts."""
    said = studio("run", write_config(), "--on", "acme", "--sandbox", "--detach", code=2).stderr
    assert "leave out --detach" in said
    (studio.home / "adapter").mkdir()
    (studio.home / "adapter" / "mine").write_text("x")
    said = studio("run", write_config(), "--on", "acme", "--sandbox", "--out", "adapter", code=3).stderr
    assert "is not empty" in said


def test_dry_run_at_the_sandbox(studio, write_config):
    """Connects, validates, lists, and starts nothing."""
    plan = studio.json("run", write_config(), "--on", "acme", "--sandbox", "--dry-run")
    assert ["anvil"] == plan["resources"]


def test_a_dataset_that_is_gone_is_the_jobs_own_failure(studio, started, write_config):
    """Without --sandbox nothing of this happens: the ledger is the user's, and remembers."""
    process, guide = started("--speed", "1000")
    studio.environment |= guide["variables"]
    studio("run", write_config(), "--on", "acme")
    _end(process, signal.SIGINT)
    with sqlite3.connect(studio.home / "data" / "ledger.sqlite3") as ledger:
        assert [("acme",)] == ledger.execute("SELECT connector FROM jobs").fetchall()


def _left_behind(studio) -> list[str]:
    """Temporary files, and processes that work on them."""
    folder = studio.environment["TMPDIR"]
    found = [str(path) for path in Path(folder).iterdir()]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().replace("\0", " ")
        except OSError:  # ended while we looked
            continue
        if folder in words:
            found.append(words)
    return found
