"""`peft-studio health` as a user types it: real platforms on loopback, real faults, connectors that hang."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_testkit.sandbox import HttpSandbox

ACME = Path(__file__).parents[1] / "docs/examples/peft-studio-acme/src"
#: A plugin in one module; BODY is what its connector does to connect.
PLUGIN = """
import asyncio, os, threading, time
from peft_studio import PlatformConnector, Transport, hookimpl

class Connector(PlatformConnector):
    name = display_name = description = "NAME"
    version = "1.0"

    async def connect(self, credentials):
        BODY
        return True

    async def disconnect(self): ...

@hookimpl
def peft_studio_connector():
    return Connector
"""
HOUR = "time.sleep(3600)"


class Platform(HttpSandbox):
    """As much of Acme as a probe asks for."""

    #: So many requests are answered together, none before the last has arrived.
    together = 1

    def routes(self) -> list[Route]:
        return [Route("/v1/account", self.account)]

    async def account(self, request: Request) -> Response:
        async with asyncio.timeout(60):
            while len(self.requests) < self.together:  # noqa: ASYNC110 -- they arrive in several tasks
                await asyncio.sleep(0.01)
        return JSONResponse({"id": "acme"})


@pytest.fixture
def platform() -> Iterator[Platform]:
    """A platform that is there."""
    with Platform() as started:
        yield started


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory of installed distributions: the scaffold's connector."""
    folder = tmp_path / "site"
    install(folder, "acme", "peft_studio_acme.plugin")
    return folder


def install(site: Path, name: str, value: str) -> None:
    """The metadata that an installer would leave."""
    metadata = site / f"peft_studio_{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: peft-studio-{name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[peft_studio.connectors]\n{name} = {value}\n")


@pytest.fixture
def plugin(site: Path, studio: Any) -> Callable[..., None]:
    """Installs a connector that does `body` to connect, or `at_import` when it is imported."""

    def add(name: str, body: str, at_import: str = "") -> None:
        source = PLUGIN.replace("NAME", name).replace("BODY", body)
        (site / f"{name}_plugin.py").write_text(f"{source}\n{at_import}\n")
        install(site, name, f"{name}_plugin")
        studio.environment["PEFT_STUDIO_PLUGINS"] += f",{name}"

    return add


@pytest.fixture
def studio(studio: Any, site: Path, platform: Platform) -> Any:
    """The command line where acme is installed and set up, and no connector beside it."""
    path = os.pathsep.join(filter(None, [str(site), str(ACME), os.environ.get("PYTHONPATH")]))
    studio.environment |= {"PYTHONPATH": path, "PEFT_STUDIO_PLUGINS": "acme", "PEFT_STUDIO_HTTP_RETRIES": "0"}
    studio.environment |= {"ACME_API_KEY": platform.key, "ACME_BASE_URL": platform.url}
    return studio


def asked(studio: Any, *arguments: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """What --json says of each connector. The command must come to its end by itself."""
    done = subprocess.run(
        studio._command(("health", *arguments, "--json")), env=studio._environment(), cwd=studio.home,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert code == done.returncode, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (code == 0) == told["ok"]
    return {each["name"]: each for each in told["connectors"]}


def test_a_healthy_platform(studio, platform):
    """It is there, knows us, so many requests are left, its clock is in step; only the account was asked for."""
    platform.limit(60, 30)
    acme = asked(studio)["acme"]

    assert ("healthy", True, True, None) == (
        acme["condition"], acme["reachable"], acme["authenticated"], acme["last_error"],
    )  # fmt: skip
    assert acme["latency_ms"] > 0
    assert {"remaining": 58, "limit": 60} == {key: acme["rate_limit"][key] for key in ("remaining", "limit")}
    assert 0.0 == acme["clock_skew"]
    assert [("GET", "/v1/account", 0)] * 2 == [(each.method, each.path, each.size) for each in platform.requests]


def test_the_table(studio, platform):
    """One line each; what is wrong stands below, with what to do."""
    platform.limit(60, 30)
    lines = studio("health").stdout.splitlines()

    assert ["NAME", "CONDITION", "REACHABLE", "AUTHENTICATED", "LATENCY", "LIMIT", "LEFT", "CLOCK"] == lines[0].split()
    assert re.fullmatch(r"acme +healthy +yes +yes +\d+ ms +58 of 60 +in step", lines[1])
    assert 2 == len(lines)
    platform.faults.add("reset_before", times=None)
    table, _, error = studio("health", code=5).stdout.partition("\nacme (")
    assert re.search(r"acme +unreachable +no +- +- +- +-", table)
    assert re.match(r"peft-studio-acme 1.0\): GET \S+ got no answer: .*\(no answer since \d{4}-\S+Z\)", error)


@pytest.mark.parametrize(
    ("kind", "options", "condition", "code"),
    [
        ("timeout", {}, "no answer", 5),
        ("refuse", {}, "unreachable", 5),
        ("reset_before", {}, "unreachable", 5),
        ("status", {"code": 500}, "unreachable", 5),
        ("html", {}, "unreachable", 5),
        ("half_open", {}, "no answer", 5),
        ("status", {"code": 403}, "unauthorized", 4),
        ("status", {"code": 402}, "refused", 6),
        ("status", {"code": 429, "headers": {"retry-after": "60", "x-ratelimit-remaining": "0"}}, "refused", 6),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_what_is_wrong(studio, platform, kind, options, condition, code):
    """Told in a word, a sentence, and the exit code; a refusal is an answer."""
    platform.faults.add(kind, times=None, **options)
    acme = asked(studio, "--timeout", "3", code=code)["acme"]

    assert condition == acme["condition"]
    assert {"unreachable": False, "no answer": None}.get(condition, True) is acme["reachable"]
    assert {"unauthorized": False}.get(condition) is acme["authenticated"]
    assert acme["last_error_at"] == acme["at"]
    assert (0 if options.get("code") == 429 else None) == (acme["rate_limit"] and acme["rate_limit"]["remaining"])


def test_a_revoked_key(studio, platform):
    """The platform is there and does not know us any more."""
    platform.revoke()
    acme = asked(studio, code=4)["acme"]

    assert ("unauthorized", True, False) == (acme["condition"], acme["reachable"], acme["authenticated"])
    assert "invalid API key" in acme["last_error"]


@pytest.mark.parametrize("seconds", [3600, -90])
def test_a_clock_that_is_off(studio, platform, seconds):
    """Is told in seconds, also beside a refusal, of which it may be the cause."""
    platform.faults.add("skew", times=None, seconds=seconds)
    assert asked(studio)["acme"]["clock_skew"] == pytest.approx(seconds, abs=20)
    assert re.search(r"  [+-]\d+ s$", studio("health").stdout, re.MULTILINE)[0].strip()[0] == f"{seconds:+d}"[0]

    platform.revoke()
    assert asked(studio, code=4)["acme"]["clock_skew"] == pytest.approx(seconds, abs=20)


def test_connectors_that_hang_delay_nobody(studio, plugin):
    """At import, in a blocked loop, deaf to being cancelled, in threads that outlive everything: the command ends."""
    deaf = "while True:\n            try: await asyncio.sleep(3600)\n            except asyncio.CancelledError: pass"
    plugin("importing", "pass", at_import=HOUR)
    plugin("blocking", HOUR)
    plugin("deaf", deaf)
    plugin("threaded", f"await asyncio.to_thread(lambda: {HOUR})")
    plugin("leaving", f"threading.Thread(target=lambda: {HOUR}, daemon=False).start(); await asyncio.sleep(3600)")
    plugin("quick", "pass")
    found = asked(studio, "--timeout", "5", code=5)
    hanging = {name: found.pop(name) for name in ("importing", "blocking", "deaf", "threaded", "leaving")}

    assert {"acme": "healthy", "quick": "healthy"} == {name: each["condition"] for name, each in found.items()}
    assert {"no answer"} == {each["condition"] for each in hanging.values()}
    assert "no answer within 5 s; it was still at its import" == hanging["importing"]["last_error"]
    assert "no answer within 5 s; it was still at connect" == hanging["blocking"]["last_error"]


def test_twelve_are_asked_at_once(studio, platform, plugin):
    """The platform answers none before all are there."""
    studio.environment["GATHERING"] = platform.url
    body = 'headers = {"authorization": "Bearer " + os.environ["ACME_API_KEY"]}\n        '
    body += 'await Transport(os.environ["GATHERING"], headers=headers).get("v1", "account")'
    for number in range(12):
        plugin(f"c{number}", body)
    platform.together = 12
    found = asked(studio, *(f"c{number}" for number in range(12)), "--timeout", "60")

    assert [True] * 12 == [each["reachable"] for each in found.values()]


def test_a_connector_that_is_not_set_up(studio, platform):
    """Is told and no failure, unless it was asked for by name."""
    del studio.environment["ACME_API_KEY"]
    acme = asked(studio)["acme"]

    assert ("not set up", None, None) == (acme["condition"], acme["reachable"], acme["authenticated"])
    assert "set ACME_API_KEY" in acme["remedy"]
    assert "not set up" == asked(studio, "acme", code=4)["acme"]["condition"]
    assert [] == platform.requests


def test_a_plugin_that_only_has_hooks_is_not_asked(studio, site):
    """There is nothing to connect to; nor is one that policy keeps out."""
    folder = site / "watching_plugin"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "plugin.py").write_text("raise SystemExit('imported')")
    manifest = {"name": "watching", "display_name": "W", "description": "Watches", "hooks": ["peft_studio_job_event"]}
    (folder / "connector.json").write_text(json.dumps(manifest))
    install(site, "watching", "watching_plugin.plugin")
    install(site, "denied", "denied_plugin")
    studio.environment["PEFT_STUDIO_PLUGINS"] = "acme,watching"

    assert ["acme"] == list(asked(studio))


def test_the_exit_code_of_several_is_that_of_the_worst(studio, plugin):
    """What is unreachable comes before what is broken; each has its sentence."""
    plugin("broken", "pass", at_import="import nothing_of_the_kind")
    assert "broken" == asked(studio, code=10)["broken"]["condition"]

    plugin("silent", "raise ConnectionResetError('reset by peer')")
    told = studio("health", code=5).stdout
    assert "No module named 'nothing_of_the_kind'" in told
    assert "silent (peft-studio-silent 1.0): the platform could not be asked" in told


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("acne",), 9, "there is no connector 'acne'"),
        (("--timeout", "0"), 3, "the time limit of a probe must be a number of seconds above 0"),
        (("--watch", "--interval", "0"), 3, "the interval for acme must be a number of seconds above 0"),
        (("--timeout", "soon"), 2, "'soon' is not a valid float"),
    ],
)
def test_wrong_arguments(studio, platform, arguments, code, sentence):
    """One sentence, before anybody is asked."""
    assert sentence in studio("health", *arguments, code=code).stderr
    assert [] == platform.requests


def test_nothing_is_installed(studio):
    """Is said, and is no failure."""
    studio.environment["PEFT_STUDIO_PLUGINS"] = "none"

    assert "there is no connector to ask" in studio("health").stderr
    assert {} == asked(studio)


def _watch(studio: Any, *arguments: str) -> Any:
    return studio.start("health", "--watch", "--interval", "0.2", *arguments)


def _interrupted(process: Any) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    return process.returncode, rest


def test_watching_tells_each_change_as_json(studio, platform):
    """One line for each, at once; Ctrl-C ends it."""
    process = _watch(studio, "--json")
    first = json.loads(process.stdout.readline())
    fault = platform.faults.add("reset_before", times=None)
    second = json.loads(process.stdout.readline())
    platform.faults.remove(fault)
    third = json.loads(process.stdout.readline())

    assert ["healthy", "unreachable", "healthy"] == [line["condition"] for line in (first, second, third)]
    assert (None, True) == (first["last_error"], "got no answer" in third["last_error"])
    assert (130, "interrupted\n") == _interrupted(process)


def test_watching_in_a_pipe_tells_each_change_in_a_line(studio, platform):
    """With the error where there is one."""
    process = _watch(studio)
    assert re.fullmatch(r"\S+Z  healthy       acme  \d+ ms\n", process.stdout.readline())
    platform.revoke()
    assert re.fullmatch(r"\S+Z  unauthorized  acme .*invalid API key.*\n", process.stdout.readline())
    assert 130 == _interrupted(process)[0]


def test_watching_ends_although_a_connector_hangs(studio, plugin):
    """Ctrl-C is not for those alone who behave."""
    plugin("leaving", f"threading.Thread(target=lambda: {HOUR}, daemon=False).start(); {HOUR}")
    process = _watch(studio, "--timeout", "3")
    told = {process.stdout.readline().split()[1], process.stdout.readline().split()[1]}

    assert {"healthy", "no"} == told
    assert 130 == _interrupted(process)[0]


@pytest.fixture
def terminal(studio: Any) -> Iterator[Callable[..., Any]]:
    """Starts a command on a terminal."""
    opened = []

    def start(*arguments: str) -> Any:
        program, *rest = studio._command(arguments)
        environment = {**studio._environment(), "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "40"}
        child = pexpect.spawn(
            program, rest, env=environment, cwd=str(studio.home), dimensions=(40, 160), encoding="utf-8", timeout=60
        )
        opened.append(child)
        return child

    yield start
    for child in opened:
        child.close(force=True)


def test_watching_on_a_terminal(terminal, platform):
    """A table that is redrawn, whatever changes; Ctrl-C leaves it standing."""
    child = terminal("health", "--watch", "--interval", "0.2")
    child.expect(r"AUTHENTICATED")
    child.expect(r"healthy.*yes.*yes.*\d+ ms")
    platform.revoke()
    child.expect(r"unauthorized.*yes.*no.*invalid API key")
    child.sendintr()
    child.expect("interrupted")
    child.expect(pexpect.EOF)
    child.wait()

    assert 130 == child.exitstatus


def test_a_single_question_can_be_interrupted(terminal, platform):
    """While a platform keeps everybody waiting."""
    platform.together = 99
    child = terminal("health", "--timeout", "3600")
    while not platform.requests:
        assert child.isalive()
        time.sleep(0.01)
    child.sendintr()
    child.expect("interrupted")
    child.expect(pexpect.EOF)
    child.wait()

    assert 130 == child.exitstatus
