"""The command line without any connector doing anything: quick, quiet, and clear about mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from peft_studio import JobEvent, Ledger, TrainingConfig
from peft_studio.lines import short_duration

COMMAND = str(Path(sys.executable).with_name("peft-studio"))


@pytest.fixture
def run(tmp_path):
    """Run the command line in an empty home."""

    def peft_studio(*arguments, code=0, **environment):
        done = subprocess.run(
            [COMMAND, *arguments],
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**os.environ, "PEFT_STUDIO_HOME": str(tmp_path / "home"), **environment},
        )  # fmt: skip
        assert code == done.returncode, done.stderr
        return done

    return peft_studio


@pytest.fixture
def ledger(tmp_path):
    """The ledger of that home."""
    with Ledger(tmp_path / "home" / "data" / "ledger.sqlite3") as opened:
        yield opened


def record(ledger, status, **fields):
    """A job that has come to its end; its id."""
    config = TrainingConfig(base_model="org/model", dataset_path="data.jsonl")
    tag = ledger.new_tag(config)
    ledger.record_intent(tag, "local", config)
    ledger.record_submitted(tag, tag)
    event = JobEvent(sequence=1, time=ledger.job(tag).created, type="state", data={"status": status, **fields})
    ledger.add_events(tag, [event])
    return tag


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["connectors", "list"], ["jobs", "list"]])
def test_nothing_heavy_is_imported(tmp_path, arguments):
    """Reading commands import no plugin, no event loop, nothing that draws and nothing that speaks HTTP."""
    program = (
        "import sys; from peft_studio.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'asyncio', 'rich', 'httpx', 'keyring', 'torch', 'yaml', 'cattrs', 'matplotlib'}\n"
        "loaded = [name for name in sys.modules if name in heavy or name.startswith('peft_studio_')]\n"
        "print(sorted(loaded), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, check=True, env={**os.environ, "PEFT_STUDIO_HOME": str(tmp_path)},
    )  # fmt: skip

    assert "[]" == done.stderr.splitlines()[-1]


def test_version_and_help(run):
    """Version and help, each on stdout."""
    assert run("--version").stdout.startswith("peft-studio, version ")
    page = run("--help").stdout
    assert all(f"\n  {command} " in page for command in ("run", "jobs", "connectors"))


def test_misspelt_command(run):
    """A misspelt command is told what may have been meant."""
    assert "no such command 'conectors'; did you mean 'connectors'?" in run("conectors", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "absent.toml"], 3, "config file absent.toml does not exist"),
        (["jobs", "show", "absent"], 9, "no job 'absent'"),
        (["connectors", "show", "absent"], 9, "absent"),
        (["jobs", "list", "--wrong"], 2, "No such option"),
    ],
)
def test_mistakes(run, arguments, code, sentence):
    """A mistake is one sentence on stderr and its own exit code; nothing goes to stdout, no traceback anywhere."""
    done = run(*arguments, code=code)

    assert sentence in done.stderr
    assert "" == done.stdout
    assert "Traceback" not in done.stderr


def test_jobs_list_contract(run, ledger):
    """The promised shape: times in UTC, money as a string, unknown as null."""
    tag = record(ledger, "completed", cost="0.1234")
    (job,) = json.loads(run("jobs", "list", "--json").stdout)

    assert {
        "id": tag, "connector": "local", "status": "completed", "reason": None, "reachable": None,
        "created": job["created"], "base_model": "org/model", "cost": "0.1234",
    } == job  # fmt: skip
    assert job["created"].endswith("Z")


def test_jobs_list_for_people(run, ledger):
    """Newest first, in columns."""
    first, second = record(ledger, "failed"), record(ledger, "completed", cost="1.5")
    heading, *rows = run("jobs", "list").stdout.splitlines()

    assert ["ID", "CONNECTOR", "STATUS", "CREATED", "MODEL", "COST"] == heading.split()
    assert [second, first] == [row.split()[0] for row in rows]
    assert "$1.50" in rows[0]


def test_no_jobs(run):
    """An empty list says how to begin; as JSON it is an empty array."""
    assert "no jobs yet; start one: peft-studio run CONFIG" in run("jobs", "list").stderr
    assert [] == json.loads(run("jobs", "list", "--json").stdout)


def test_logs_of_a_finished_job(run, ledger):
    """The log is told from the ledger alone, from any event on."""
    tag = record(ledger, "failed", reason="it broke")

    assert "job failed: it broke\n" == run("jobs", "logs", tag).stdout
    assert [1] == [json.loads(line)["sequence"] for line in run("jobs", "logs", tag, "--json").stdout.splitlines()]
    assert "" == run("jobs", "logs", tag, "--after", "1").stdout


def test_show_finds_by_a_part(run, ledger):
    """A part of the id is enough."""
    tag = record(ledger, "completed")

    assert tag == json.loads(run("jobs", "show", tag[-5:], "--json").stdout)["id"]


def test_reader_goes_away(ledger):
    """`| head` ends the command without a traceback, however much it had to say."""
    tag = record(ledger, "completed")
    now = ledger.job(tag).created
    lines = [JobEvent(sequence=n, time=now, type="log", data={"message": "x" * 200}) for n in range(2, 5000)]
    ledger.add_events(tag, lines)
    done = subprocess.run(
        f"'{COMMAND}' jobs logs {tag} | head -1", shell=True, capture_output=True, text=True, check=True,
        env={**os.environ, "PEFT_STUDIO_HOME": str(ledger.path.parents[1])},
    )  # fmt: skip

    assert ("job completed\n", "") == (done.stdout, done.stderr)


def test_completion(run):
    """The shell completes commands without importing plugins."""
    done = run(_PEFT_STUDIO_COMPLETE="bash_complete", COMP_WORDS="peft-studio jo", COMP_CWORD="1")

    assert "plain,jobs" in done.stdout


def test_completion_of_ids(run, ledger):
    """The shell completes ids of jobs."""
    tag = record(ledger, "completed")
    done = run(_PEFT_STUDIO_COMPLETE="bash_complete", COMP_WORDS="peft-studio jobs show ps-", COMP_CWORD="3")

    assert f"plain,{tag}" in done.stdout


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (75, "1m15s"), (3600, "1h00m"), (90061, "1d01h"), (-3, "0s")]
)
def test_short_duration(seconds, text):
    """Two units at most."""
    assert text == short_duration(seconds)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["push", ".", "me/mine"], 3, "says no place in a registry"),
        (["push", ".", "nosuch:me/mine"], 9, "no connector 'nosuch'"),
        (["pull", "nosuch:me/mine"], 9, "no connector 'nosuch'"),
        (["models", "show", "mine"], 3, "write it like huggingface:me/my-adapter"),
        (["models", "search", "tiny", "--on", "nosuch"], 9, "no connector 'nosuch'"),
    ],
)
def test_wrong_addresses_are_told(run, arguments, code, sentence):
    """Before anybody is asked anything."""
    assert sentence in run(*arguments, code=code).stderr
