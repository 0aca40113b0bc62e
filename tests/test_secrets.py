"""A canary: the key of an account, searched for in everything that is left after things went wrong in every way."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from peft_studio import ConnectorManager, ConnectorRegistry, Ledger, PeftStudioError
from peft_studio.policy import Policy
from peft_studio_testkit.scaffold import render

from .leaks import LEAKY, Search

#: Faults of the sandbox, and what they take; KEY is what the platform says back.
FAULTS: dict[str, dict[str, Any]] = {
    "timeout": {},
    "reset_before": {},
    "reset_after": {},
    "status 400": {"code": 400, "body": {"error": {"message": "KEY is bad"}}},
    "status 401": {"code": 401, "body": {"error": {"message": "unknown key KEY"}}},
    "status 403": {"code": 403, "body": "KEY may not"},
    "status 429": {"code": 429, "body": {"key": "KEY"}, "headers": {"Retry-After": "0"}},
    "status 500": {"code": 500, "body": "<pre>KEY</pre>"},
    "shape": {"body": {"unexpected": ["KEY"]}},
    "truncate": {},
    "cut_json": {},
    "garbage": {},
    "html": {},
    "empty": {},
    "redirect": {},
}


def strike(sandbox: Any, fault: str) -> None:
    """From now on the platform is out of order in that way."""
    how = json.loads(json.dumps(FAULTS[fault]).replace("KEY", sandbox.key))
    sandbox.faults.clear()
    sandbox.faults.add(fault.partition(" ")[0], times=None, **how)


def patience(fault: str, operation: str) -> str:
    """Seconds to wait for an answer: a busy machine must not look like a fault. A job's log has no end here."""
    return "1" if fault == "timeout" or "logs" in operation else "20"


async def _logs(manager: ConnectorManager, job: str) -> None:
    async with aclosing(manager.jobs.follow(job)) as events:
        async for _ in events:
            pass


async def _connect_again(manager: ConnectorManager, job: str) -> None:
    await manager.disconnect("canary")
    await manager.connect("canary")


OPERATIONS: dict[str, Callable[[ConnectorManager, str], Any]] = {
    "connect": _connect_again,
    "status": lambda manager, job: manager.jobs.get(job),
    "logs": _logs,
    "metrics": lambda manager, job: manager.get_metrics("canary", job),
    "resources": lambda manager, _: manager.list_resources("canary"),
    "pricing": lambda manager, _: manager.get_pricing("canary", "a100"),
    "cancel": lambda manager, job: manager.cancel_job("canary", job),
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of a connector as the scaffolder writes it."""
    project = tmp_path_factory.mktemp("canary") / "project"
    render("canary", project, display_name="Canary Cloud")
    return project / "src" / "peft_studio_canary"


@pytest.fixture
def install(tmp_path: Path, rendered: Path) -> Callable[[bool], Path]:
    """Makes a directory of installed distributions: the connector as it is, or leaky."""

    def into_site(is_leaky: bool) -> Path:
        site = tmp_path / "site"
        shutil.copytree(rendered, site / "peft_studio_canary", ignore=shutil.ignore_patterns("__pycache__"))
        metadata = site / "peft_studio_canary-0.1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: peft-studio-canary\nVersion: 0.1.0\n")
        (metadata / "entry_points.txt").write_text("[peft_studio.connectors]\ncanary = peft_studio_canary.plugin\n")
        source = site / "peft_studio_canary" / "connector.py"
        text = source.read_text()
        assert "secrets=[key]" in text
        if is_leaky:
            source.write_text(text.replace("secrets=[key]", "secrets=[]") + LEAKY)
        return site

    return into_site


@pytest.fixture
def sandbox(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The fake platform with a key that has to be quoted in addresses; nobody asks it twice."""
    monkeypatch.syspath_prepend(str(rendered.parent))
    monkeypatch.setenv("PEFT_STUDIO_HTTP_RETRIES", "0")
    try:
        from peft_studio_canary.sandbox import CanarySandbox

        with CanarySandbox() as started:
            started.key = f"sk/canary+{secrets.token_hex(16)}"
            yield started
    finally:
        for name in [name for name in sys.modules if name.startswith("peft_studio_canary")]:
            del sys.modules[name]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, for this process too."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / "home"


def _from(site: Path) -> ConnectorRegistry:
    """What is installed there, imported afresh."""
    for name in [name for name in sys.modules if name.startswith("peft_studio_canary")]:
        del sys.modules[name]
    sys.path.insert(0, str(site))
    return ConnectorRegistry([site], Policy())


@pytest.mark.parametrize("is_leaky", [False, True], ids=["as it is", "leaky"])
async def test_the_library_keeps_the_key(
    sandbox: Any, install: Any, home: Path, monkeypatch: pytest.MonkeyPatch, is_leaky: bool
) -> None:
    """Each operation with each fault: not in errors, logs, files or addresses, even if the connector says it."""
    search, scenarios, failed = Search(sandbox.key), 0, 0
    path = list(sys.path)
    credentials = {"canary": sandbox.credentials()}
    with Ledger(home / "data" / "ledger.sqlite3") as ledger, search.at_logs():
        async with ConnectorManager(_from(install(is_leaky)), ledger, credentials=credentials) as manager:
            await manager.connect("canary")
            for fault in FAULTS:
                sandbox.faults.clear()
                monkeypatch.setenv("PEFT_STUDIO_HTTP_TIMEOUT", patience(fault, ""))
                await _connect_again(manager, "")
                job = await manager.submit_job("canary", sandbox.training_config())
                for name, operation in OPERATIONS.items():
                    monkeypatch.setenv("PEFT_STUDIO_HTTP_TIMEOUT", patience(fault, name))
                    await _connect_again(manager, "")
                    strike(sandbox, fault)
                    scenarios += 1
                    try:
                        await operation(manager, job)
                    except PeftStudioError as error:
                        failed += 1
                        search.look_at_error(f"{name} with {fault}", error)
                    finally:
                        sandbox.faults.clear()
                await _connect_again(manager, "")
                strike(sandbox, fault)
                scenarios += 1
                try:
                    await manager.submit_job("canary", sandbox.training_config())
                except PeftStudioError as error:
                    failed += 1
                    search.look_at_error(f"submission with {fault}", error)
    sys.path[:] = path
    search.look_at_files(home)
    for request in sandbox.requests:
        search.look("an address", f"{request.path}?{request.query}")

    assert [] == search.hits
    assert 50 <= failed <= scenarios
    assert search.looked_at > scenarios


@pytest.fixture
def studio(studio: Any, sandbox: Any, tmp_path: Path) -> Any:
    """The command line with the key in its environment, which logs everything to a file."""
    custom = tmp_path / "custom"
    custom.mkdir()
    (custom / "sitecustomize.py").write_text(
        f"import logging; logging.basicConfig(level=1, filename={str(tmp_path / 'log.txt')!r})\n"
    )
    path = [str(custom), str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]
    studio.environment |= {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "TMPDIR": str(tmp_path),
        "CANARY_API_KEY": sandbox.key,
        "CANARY_BASE_URL": sandbox.url,
        "PEFT_STUDIO_HTTP_RETRIES": "0",
    }
    return studio


def _config(sandbox: Any, tmp_path: Path) -> Path:
    file = tmp_path / "job.json"
    config = sandbox.training_config()
    file.write_text(json.dumps({"base_model": config.base_model, "dataset_path": config.dataset_path}))
    return file


def _commands(config: Path, job: str, folder: Path) -> list[list[str]]:
    return [
        ["run", str(config), "--on", "canary", "--detach"],
        ["run", str(config), "--on", "canary", "--dry-run"],
        ["jobs", "list"],
        ["jobs", "show", job, "--json"],
        ["jobs", "logs", job],
        ["jobs", "pull", job, str(folder / "adapter")],
        ["auth", "status", "canary"],
    ]


@pytest.mark.slow
@pytest.mark.parametrize("is_leaky", [False, True], ids=["as it is", "leaky"])
def test_the_command_line_keeps_the_key(
    studio: Any, sandbox: Any, install: Any, tmp_path: Path, is_leaky: bool
) -> None:
    """Each command with several faults: not on the screen, in a file, a log, an address or an argument."""
    install(is_leaky)
    search, scenarios, codes = Search(sandbox.key), 0, set()
    config = _config(sandbox, tmp_path)
    with search.at_processes():
        job = json.loads(studio("run", config, "--on", "canary", "--detach", "--json").stdout)["id"]
        for fault in ("timeout", "status 401", "status 500", "shape"):
            for command in _commands(config, job, tmp_path):
                strike(sandbox, fault)
                studio.environment["PEFT_STUDIO_HTTP_TIMEOUT"] = patience(fault, command[1])
                done = studio(*command, code=None)
                scenarios += 1
                codes.add(done.returncode)
                search.look(f"{' '.join(command[:2])} with {fault}", done.stdout + done.stderr)
    search.look_at_files(studio.home, tmp_path)
    for request in sandbox.requests:
        search.look("an address", f"{request.path}?{request.query}")

    assert [] == search.hits
    assert 28 == scenarios
    assert {0, 4, 5} <= codes
    assert is_leaky == ("connecting with ***" in (tmp_path / "log.txt").read_text())


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("print", "the screen"),
        ("file", "left.txt"),
        ("process", "the arguments of a process"),
        ("address", "an address"),
    ],
)
def test_the_search_finds_what_a_connector_gives_away(
    studio: Any, sandbox: Any, install: Any, tmp_path: Path, kind: str, place: str
) -> None:
    """What no library can prevent is found, so a search without hits means something."""
    install(True)
    studio.environment["CANARY_LEAK"] = kind
    search = Search(sandbox.key)
    with search.at_processes():
        done = studio("run", _config(sandbox, tmp_path), "--on", "canary", "--dry-run", code=None)
    search.look("the screen", done.stdout + done.stderr)
    search.look_at_files(studio.home)
    for request in sandbox.requests:
        search.look("an address", f"{request.path}?{request.query}")

    assert search.hits != []
    assert all(place in hit for hit in search.hits)


def test_a_plugin_that_fails_with_the_key_in_its_words(studio: Any, sandbox: Any, install: Any, tmp_path: Path) -> None:
    """What is told and remembered of it is masked: the key was in the environment, where it found it."""
    site = install(False)
    (site / "peft_studio_canary" / "plugin.py").write_text(
        "import os\nraise RuntimeError('no use for ' + os.environ['CANARY_API_KEY'])\n"
    )
    search = Search(sandbox.key)
    for command in (["connectors", "check", "canary"], ["run", str(_config(sandbox, tmp_path)), "--on", "canary"]):
        done = studio(*command, code=10)
        assert "RuntimeError: no use for ***" in done.stdout + done.stderr
        search.look("the screen", done.stdout + done.stderr)
    search.look_at_files(studio.home, tmp_path)

    assert [] == search.hits
    assert "no use for ***" in (studio.home / "state" / "plugin-failures.json").read_text()


def test_a_config_with_the_key_in_it_is_refused(studio: Any, sandbox: Any, install: Any, tmp_path: Path) -> None:
    """Before it is written to the ledger or sent anywhere."""
    install(False)
    config = _config(sandbox, tmp_path)
    done = studio("run", config, "--on", "canary", "--set", f"project_name={sandbox.key}", code=3)

    assert "the config holds a secret that is in use" in done.stderr
    assert sandbox.key not in done.stderr
    search = Search(sandbox.key)
    search.look_at_files(studio.home)
    assert [] == search.hits
    assert 0 == sandbox.count("POST", "jobs")


def test_what_is_written_is_for_the_user_alone(studio: Any, sandbox: Any, install: Any, tmp_path: Path) -> None:
    """Every file of the home has mode 0600."""
    install(False)
    studio("run", _config(sandbox, tmp_path), "--on", "canary", "--detach")
    files = [path for path in studio.home.rglob("*") if path.is_file()]

    assert files
    assert [] == [path for path in files if path.stat().st_mode & 0o077]
