"""What a person at a terminal sees: the live view, and the question that Ctrl-C asks."""

from __future__ import annotations

import re

import pexpect
import pytest

from peft_studio_huggingface.sandbox import HuggingFaceSandbox

ENDLESS = {"num_epochs": 10_000}


@pytest.fixture
def terminal(studio):
    """Start a command on a terminal of 100 columns."""
    opened = []

    def start(*arguments):
        program, *rest = studio._command(arguments)
        environment = {**studio._environment(), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
        child = pexpect.spawn(
            program, rest, env=environment, cwd=str(studio.home), dimensions=(40, 100), encoding="utf-8", timeout=120
        )
        opened.append(child)
        return child

    yield start
    for child in opened:
        child.close(force=True)


def plain(text: str) -> str:
    """Without escape codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.slow
def test_live_view(terminal, write_config):
    """On a terminal the view shows step, loss with a sparkline, speed and time left."""
    child = terminal("run", write_config())
    child.expect(pexpect.EOF)
    seen = plain(child.before)

    assert "12/12" in seen
    assert re.search(r"loss +\d\.\d{4} +[▁▂▃▄▅▆▇█]+", seen)
    assert re.search(r"\d+ tokens/s", seen)
    assert re.search(r"\d+s left", seen)


@pytest.mark.slow
def test_interrupt_asks(terminal, studio, write_config):
    """Ctrl-C asks; "watch" goes on watching, "cancel" ends the job."""
    child = terminal("run", write_config(**ENDLESS))
    child.expect(r"tokens/s")
    child.sendintr()
    child.expect("detach, cancel or watch")
    child.sendline("watch")
    child.expect(r"tokens/s")
    child.sendintr()
    child.expect("detach, cancel or watch")
    child.sendline("cancel")
    child.expect("cancelled")
    child.expect(pexpect.EOF)
    child.wait()

    assert 11 == child.exitstatus
    assert ["cancelled"] == [job["status"] for job in studio.json("jobs", "list")]


@pytest.mark.slow
def test_interrupt_detaches(terminal, studio, write_config):
    """Enter at the question detaches: the job goes on, and the way back is told."""
    child = terminal("run", write_config(**ENDLESS))
    child.expect(r"tokens/s")
    child.sendintr()
    child.expect("detach, cancel or watch")
    child.sendline("")
    child.expect(r"peft-studio jobs logs (\S+) --follow")
    job = plain(child.match[1])
    child.expect(pexpect.EOF)
    child.wait()

    assert 130 == child.exitstatus
    assert "running" == studio.json("jobs", "show", job)["status"]
    studio("jobs", "cancel", job)


def test_pull_shows_what_arrives(terminal, studio):
    """How much, and how fast, while a large file comes; nothing of it stays."""
    with HuggingFaceSandbox() as hub:
        hub.hub.add("acme/big", {"adapter_config.json": b"{}", "adapter_model.safetensors": bytes(24 * 2**20)})
        hub.faults.add("drip", "GET", "/lfs/", bytes_per_second=20 * 2**20)
        studio.environment |= hub.environment()
        child = terminal("pull", "huggingface:acme/big", "big")
        child.expect(r"\d MiB  [\d.]+ MiB/s")
        child.expect(r"pulled: big  24\.0 MiB in")
        child.expect(pexpect.EOF)
    assert (studio.home / "big" / "manifest.json").is_file()
