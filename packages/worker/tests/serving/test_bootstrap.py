"""The start command of a rented machine, run by a real shell."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import pytest

from peft_studio_worker.serving import bootstrap_script

from .conftest import TOKEN, until

WORKER_VERSION = version("peft-studio-worker")


@pytest.fixture
def machine(make_worker, make_platform, tmp_path):
    """Make a worker that is started by the script; `python` is the Python of the image."""

    def make(*statuses: int, python: Path = Path(sys.executable), **settings: str):
        platform = make_platform(*statuses)
        settings = {"TEARDOWN": platform.recipe(), "RETRY": "0.1", "VENV": str(tmp_path / "venv")} | settings
        worker = make_worker(**settings)
        worker.platform = platform
        worker.command = ["sh", "-c", bootstrap_script()]
        path = f"{python.parent}:{os.environ['PATH']}"
        worker.more = {"POD_ID": "pod-7", "POD_KEY": "rpa_SECRETKEY", "PATH": path}
        return worker

    return make


@pytest.fixture(scope="module")
def virtual_environment(tmp_path_factory) -> Path:
    """One that an earlier start of the container has left, without the worker."""
    folder = tmp_path_factory.mktemp("image") / "venv"
    subprocess.run([Path(sys.base_prefix) / "bin" / "python3", "-m", "venv", folder], check=True)
    return folder


def lines(worker) -> list[str]:
    """What was said on stderr."""
    return worker.said.read_text().splitlines()


def test_serves_what_is_installed(machine) -> None:
    """Nothing is installed when the very version is there; a killed worker is started again; SIGTERM ends all of it."""
    worker = machine(VERSION=WORKER_VERSION).start()
    assert "peft-studio-worker bootstrap: the worker is installed already" == lines(worker)[0]
    assert "pending" == worker.job["state"]

    [child] = children(worker.process.pid)
    size = worker.said.stat().st_size
    os.kill(child, signal.SIGKILL)
    worker.port = int(until(lambda: worker._listening(size)))
    assert "pending" == worker.job["state"]
    assert "peft-studio-worker bootstrap: the worker was killed (exit code 137)" in lines(worker)

    assert 143 == worker.kill(signal.SIGTERM)
    assert not Path(f"/proc/{child}").exists()
    assert TOKEN not in worker.said.read_text()
    assert [] == worker.platform.requests


def children(pid: int) -> list[int]:
    """Processes that this one started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_what_cannot_be_installed_ends_in_teardown_and_sleep(machine, tmp_path) -> None:
    """The reason is on stderr, the recipe is repeated until it is accepted, and the script lives on, asleep.

    Texts that a shell or Python would run stay texts.
    """
    trap = tmp_path / "trap"
    evil = f"$(touch$IFS{trap})`touch$IFS{trap}`'\";touch$IFS{trap};#"
    image = Path(sys.base_prefix) / "bin" / "python3"
    install = f"{tmp_path}/no-such-package.whl {evil}"
    worker = machine(500, 204, python=image, VERSION="0.0.1", INSTALL=install, DEADLINE=evil, JOB=evil)
    worker.spawn()

    accepted = "peft-studio-worker bootstrap: the platform has accepted the teardown of this machine"
    until(lambda: accepted in lines(worker))
    assert not trap.exists()
    assert (tmp_path / "venv" / "bin" / "python").exists()
    assert [("DELETE", "/pods/pod-7")] * 2 == [(each["method"], each["path"]) for each in worker.platform.requests]
    assert "Bearer rpa_SECRETKEY" == worker.platform.requests[0]["headers"]["Authorization"]
    assert "peft-studio-worker/0.0.1" == worker.platform.requests[0]["headers"]["User-Agent"]
    said = worker.said.read_text()
    assert "no-such-package.whl" in said or "Invalid requirement" in said, said
    assert "peft-studio-worker bootstrap: the worker could not be installed" in lines(worker)
    assert "step 1 of the teardown: 500" in said
    assert not [secret for secret in ("rpa_SECRETKEY", TOKEN) if secret in said]
    assert worker.process.poll() is None
    assert 143 == worker.kill(signal.SIGTERM)


@pytest.mark.parametrize(
    "limits",
    [
        {"BOOT": "0.5"},
        {"DEADLINE": "600", "CREATED": "2026-01-01T00:00:00Z"},
        {"MAX_COST": "0.0001", "HOURLY_RATE": "7.2"},
    ],
)
def test_an_installation_that_hangs_ends_in_teardown(machine, virtual_environment, limits) -> None:
    """When its time is over, or that of the machine, or its money."""
    image = Path(sys.base_prefix) / "bin" / "python3"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        install = f"http://127.0.0.1:{silent.getsockname()[1]}/peft_studio_worker-1-py3-none-any.whl"
        settings = {"VERSION": "0.0.1", "INSTALL": install, "VENV": str(virtual_environment)} | limits
        worker = machine(204, python=image, **settings)
        worker.spawn()
        until(lambda: len(worker.platform.requests) == 1)

    said = worker.said.read_text()
    assert "peft-studio-worker bootstrap: the installation is not done after 0 s" in said
    assert "peft-studio-worker bootstrap: the worker could not be installed" in lines(worker)
    assert 143 == worker.kill(signal.SIGTERM)


def test_a_worker_that_hangs_does_not_keep_the_machine(machine, tmp_path) -> None:
    """It cannot look at its own deadline any more: the script does."""
    image = tmp_path / "image" / "python3"
    image.parent.mkdir()
    image.write_text(f'#!/bin/sh\ncase "$*" in *serve) exec sleep 600; esac\nexec {sys.executable} "$@"\n')
    image.chmod(0o755)
    worker = machine(204, python=image, VERSION=WORKER_VERSION, DEADLINE="1", LATE="0")
    worker.spawn()

    accepted = "peft-studio-worker bootstrap: the platform has accepted the teardown of this machine"
    until(lambda: accepted in lines(worker))
    said = ["the worker is not done after 1 s", "the worker has not ended the machine in time"]
    assert [f"peft-studio-worker bootstrap: {each}" for each in said] == lines(worker)[1:3]
    commands = [Path(f"/proc/{each}/cmdline").read_bytes() for each in children(worker.process.pid)]
    assert b"sleep\x00600\x00" not in commands
    assert 143 == worker.kill(signal.SIGTERM)


def test_a_worker_that_refuses_its_settings(machine) -> None:
    """It would refuse them again: the machine ends."""
    worker = machine(204, PORT="x")
    worker.spawn()

    until(lambda: len(worker.platform.requests) == 1)
    until(lambda: "peft-studio-worker bootstrap: the worker ended with exit code 78" in lines(worker))
    assert worker.process.poll() is None


def test_stopped_while_it_goes_to_sleep(tmp_path) -> None:
    """At whatever moment the platform stops the machine, the script ends; a process that is just forked is deaf."""
    (tmp_path / "sleep").symlink_to(str(shutil.which("sleep")))
    shell = str(shutil.which("sh"))
    for number in range(100):
        script = subprocess.Popen(
            [shell, "-c", bootstrap_script()],
            env={"PATH": str(tmp_path)},
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            assert b"there is no Python" in script.stderr.readline()
            assert b"the client must end this machine" in script.stderr.readline()
            time.sleep(number / 50_000)
            script.terminate()
            assert 143 == script.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGKILL)
            script.communicate()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck(tmp_path) -> None:
    """No warning."""
    script = tmp_path / "bootstrap.sh"
    script.write_text(bootstrap_script())

    assert "" == subprocess.run(["shellcheck", script], check=False, capture_output=True, text=True).stdout
