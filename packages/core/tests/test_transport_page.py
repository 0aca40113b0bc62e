"""The example of the reference page, executed as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from peft_studio import Transport
from peft_studio._transport.answers import LONGEST_WAIT, SIZE_LIMIT
from peft_studio._transport.events import _REMEMBERED
from peft_studio._transport.wire import _MAX_CONNECTIONS

from .storage import CONTENT, SHA256, Storage

PAGE = (Path(__file__).parents[3] / "docs/reference/transport.md").read_text(encoding="utf-8")


async def test_example_runs(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Submit, follow, ask, download."""
    monkeypatch.chdir(tmp_path)
    job = {"id": "7", "status": "completed", "sha256": SHA256}
    events = server.reply(200, b"id: 1\ndata: step 1 of 1\n\n", kind="text/event-stream")
    server.steps = [server.reply(201, {"id": "7"}), events, server.reply(body=job), Storage()]
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}

    exec(example, names)
    await names["main"](server.url, "sk-0123")

    assert f"step 1 of 1\ncompleted: {len(CONTENT)} bytes\n" == capsys.readouterr().out
    assert {"Bearer sk-0123"} == {request.headers["authorization"] for request in server.requests}


def test_numbers_of_the_page_are_those_of_the_code() -> None:
    """Limits that somebody might plan with."""
    assert f"one of the {_MAX_CONNECTIONS} connections" in PAGE
    assert f"at most {LONGEST_WAIT:.0f} s, with 429" in PAGE
    assert f"more than {SIZE_LIMIT // 2**20} MiB" in PAGE
    assert f"the last {_REMEMBERED:,} ids" in PAGE


@pytest.mark.parametrize("name", sorted(name for name in vars(Transport) if not name.startswith("_")))
def test_every_method_is_described(name: str) -> None:
    """By its name in code."""
    assert re.search(rf"`{name}[(`]", PAGE)
