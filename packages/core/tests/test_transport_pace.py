"""No request leaves before its turn, in whichever program of the user; and none waits for longer than it must."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from peft_studio import PeftStudioError, RateLimitError, Transport
from peft_studio._declared import Declared, declaring

TOKEN = "sk-canary-0123456789"
#: Sends so many requests, in a program of its own, and prints when each answer came.
ASKER = """
import asyncio, sys, time
from peft_studio import Transport
from peft_studio._declared import Declared, declaring
async def main(url, token, number, limit):
    with declaring(Declared(frozenset(["127.0.0.1"]), frozenset(), {"requests_per_second": float(limit)})):
        async with Transport(url, secrets=[token]) as transport:
            for _ in range(int(number)):
                await transport.get("account")
asyncio.run(main(*sys.argv[1:]))
"""


def client(server: Any, token: str = TOKEN, **limits: float) -> Transport:
    """A program of the user; `limits` stand in its connector.json."""
    with declaring(Declared(frozenset(["127.0.0.1"]), frozenset(), limits)):
        return Transport(f"{server.url}/v1", secrets=[token], retries=0)


def limited(server: Any, **headers: str) -> list[bytes]:
    """One answer of a kind, and good ones after it."""
    return [server.reply(429, {}, **headers), server.reply(200, {})]


async def test_a_long_rest_holds_for_every_program(server: Any) -> None:
    """Another client of the same account is told at once, and the platform is not asked."""
    server.steps = limited(server, Retry_After="120")
    async with client(server) as first, client(server) as second:
        with pytest.raises(RateLimitError):
            await first.get("account")
        with pytest.raises(RateLimitError) as refused:
            await second.post("jobs", json={})

    assert 1 == len(server.requests)
    assert refused.value.retry_after == pytest.approx(120, abs=2)
    assert "POST http://127.0.0.1:" in refused.value.what
    assert "was not sent" in refused.value.what
    assert "the platform wants no more requests until 2" in (refused.value.why or "")
    assert (refused.value.remedy or "").startswith("try again in 1")


async def test_a_short_rest_is_waited_for(server: Any) -> None:
    """A create too, which is sent once for all that."""
    server.steps = limited(server, Retry_After="1")
    async with client(server) as first, client(server) as second:
        with pytest.raises(RateLimitError):
            await first.get("account")
        began = time.monotonic()
        await second.post("jobs", json={})

    assert 2 == len(server.requests)
    assert 0.7 < time.monotonic() - began < 30


async def test_another_account_does_not_wait(server: Any) -> None:
    """The limit is one account's."""
    server.steps = limited(server, Retry_After="120")
    async with client(server) as first, client(server, "another-key-0123") as second:
        with pytest.raises(RateLimitError):
            await first.get("account")
        await second.get("account")

    assert 2 == len(server.requests)


async def test_another_platform_does_not_wait(server: Any, elsewhere: Any) -> None:
    """The same key may be used at two addresses."""
    server.steps, elsewhere.steps = limited(server, Retry_After="120"), [elsewhere.reply(200, {})]
    async with client(server) as first, client(elsewhere) as second:
        with pytest.raises(RateLimitError):
            await first.get("account")
        await second.get("account")

    assert 1 == len(elsewhere.requests)


@pytest.mark.parametrize(
    "headers",
    [
        {"RateLimit": '"minute";r=0;t=40, "hour";r=9;t=1812'},
        {"RateLimit": '"minute";r=0;t=2, "hour";r=0;t=40'},
        {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "40"},
    ],
)
async def test_a_limit_with_nothing_left_is_kept(server: Any, headers: dict[str, str]) -> None:
    """A good answer may say that it was the last one for now; of two windows the longer one counts."""
    server.steps = [server.reply(200, {}, **headers), server.reply(200, {})]
    async with client(server) as transport:
        await transport.get("account")
        with pytest.raises(RateLimitError) as refused:
            await transport.get("account")

    assert refused.value.retry_after == pytest.approx(40, abs=2)
    assert 1 == len(server.requests)


async def test_a_429_is_believed_for_as_long_as_its_longest_window(server: Any) -> None:
    """Retry-After and a window that is used up are two demands; the later end is the one that helps."""
    server.steps = limited(server, Retry_After="7", RateLimit='"minute";r=0;t=41')
    async with client(server) as transport:
        with pytest.raises(RateLimitError) as refused:
            await transport.get("account")

    assert refused.value.retry_after == pytest.approx(41, abs=2)


async def test_what_ends_a_bill_is_held_back_for_a_moment_only(server: Any) -> None:
    """A limit may be one of another address: a teardown is sent all the same, after five seconds."""
    server.steps = limited(server, Retry_After="120")
    async with client(server) as transport:
        with pytest.raises(RateLimitError):
            await transport.get("account")
        began = time.monotonic()
        cancel = transport.post("jobs", "1", "cancel", json={}, idempotent=True)
        await asyncio.gather(transport.delete("jobs", "1"), cancel)

    assert time.monotonic() - began > 4.9
    assert ["DELETE", "GET", "POST"] == sorted(request.method for request in server.requests)


async def test_when_the_rest_is_over_nothing_remains(server: Any, home: Path) -> None:
    """The file is there for as long as it says something, and names neither the key nor anything made of it alone."""
    server.steps = limited(server, Retry_After="1")
    async with client(server) as transport:
        with pytest.raises(RateLimitError):
            await transport.get("account")
        (remembered,) = (home / "state" / "pace").iterdir()
        assert TOKEN not in remembered.name + remembered.read_text()
        await transport.get("account")
        await transport.get("account")

    assert [] == list((home / "state" / "pace").iterdir())


async def test_what_has_long_been_over_is_swept_up(server: Any, home: Path) -> None:
    """Accounts that are never asked again leave nothing for ever."""
    folder = home / "state" / "pace"
    folder.mkdir(parents=True)
    for name, age in (("old", 90_000), ("new", 80_000)):
        (folder / f"{name}.rest.json").touch()
        os.utime(folder / f"{name}.rest.json", (time.time() - age,) * 2)
    server.steps = limited(server, Retry_After="120")
    async with client(server) as transport:
        with pytest.raises(RateLimitError):
            await transport.get("account")

    names = [file.name for file in folder.iterdir()]
    assert 2 == len(names)
    assert "new.rest.json" in names


@pytest.mark.parametrize("text", ["{", '{"until": "soon"}', '{"until": 1e300}', "[]"])
async def test_a_file_that_says_nothing_stops_nobody(server: Any, home: Path, text: str) -> None:
    """It is worth nothing by itself."""
    server.steps = limited(server, Retry_After="120")
    async with client(server) as transport:
        with pytest.raises(RateLimitError):
            await transport.get("account")
        (remembered,) = (home / "state" / "pace").iterdir()
    remembered.write_text(text)
    async with client(server) as another:
        await another.get("account")


async def test_without_a_state_directory_each_program_keeps_to_what_it_heard(server: Any, home: Path) -> None:
    """The platform is asked all the same, and the limit that this program has met holds."""
    home.write_text("no directory")
    server.steps = [server.reply(200, {}), *limited(server, Retry_After="120")]
    async with client(server) as transport:
        await transport.get("account")
        for _ in range(2):
            with pytest.raises(RateLimitError):
                await transport.get("account")

    assert 2 == len(server.requests)


async def test_a_declared_quota_is_shared_by_programs(server: Any, home: Path) -> None:
    """Four programs with 24 requests: half of ten a second go at once, the others one in 0.2 s, whoever sends them."""
    arrivals: list[float] = []

    async def answer(request: Any, writer: asyncio.StreamWriter) -> None:
        arrivals.append(time.monotonic())
        writer.write(server.reply(200, {}))
        await writer.drain()

    server.steps = [answer]
    arguments = (sys.executable, "-c", ASKER, f"{server.url}/v1", TOKEN, "6", "10")
    programs = [await asyncio.create_subprocess_exec(*arguments, env=dict(os.environ)) for _ in range(4)]
    assert [0] * 4 == [await program.wait() for program in programs]

    assert 24 == len(arrivals)
    assert max(arrivals) - min(arrivals) > 2.5  # 3.8 s apart when granted, a busy machine delays the first; else 0.2


async def test_a_quota_that_is_used_up_for_long_is_told(server: Any) -> None:
    """Two requests a day: the second would wait for half a day."""
    server.steps = [server.reply(200, {})]
    async with client(server, requests_per_day=2) as transport:
        await transport.get("account")
        with pytest.raises(RateLimitError, match=r"connector\.json allows 2 requests_per_day") as refused:
            await transport.get("account")
        await transport.delete("jobs", "1")

    assert refused.value.retry_after == pytest.approx(86400, abs=5)
    assert ["GET", "DELETE"] == [request.method for request in server.requests]


async def test_other_limits_of_connector_json_are_for_people(server: Any, home: Path) -> None:
    """What is no number of requests holds nothing up, and leaves no file."""
    server.steps = [server.reply(200, {})]
    async with client(server, concurrent_jobs=1) as transport:
        for _ in range(3):
            await transport.get("account")

    assert not (home / "state" / "pace").exists()


async def test_an_error_of_the_pace_is_a_refusal(server: Any) -> None:
    """Nothing was sent, so a submission that meets it created nothing."""
    from peft_studio.session import is_refusal

    server.steps = limited(server, Retry_After="120")
    async with client(server) as transport:
        with pytest.raises(RateLimitError):
            await transport.get("account")
        with pytest.raises(PeftStudioError) as refused:
            await transport.post("jobs", json={})

    assert is_refusal(refused.value)


async def test_the_storage_of_a_download_has_a_limit_of_its_own(server: Any, elsewhere: Any, tmp_path: Path) -> None:
    """Another origin that is asked too often says nothing of the platform."""
    server.steps = [server.reply(302, Location=f"{elsewhere.url}/blob"), server.reply(200, {})]
    elsewhere.steps = [elsewhere.reply(429, {}, Retry_After="120", RateLimit='"minute";r=0;t=40')]
    async with client(server) as transport:
        with pytest.raises(RateLimitError):
            await transport.download("adapter", file=tmp_path / "adapter")
        await transport.get("account")

    assert 2 == len(server.requests)


async def test_turns_of_a_clock_that_was_set_back_are_forgotten(server: Any, home: Path) -> None:
    """Nobody waits for a date that only that clock knew."""
    server.steps = [server.reply(200, {})]
    async with client(server, requests_per_minute=2) as transport:
        await transport.get("account")
        (turns,) = (home / "state" / "pace").glob("*.turns.json")
        turns.write_text(json.dumps({"requests_per_minute": time.time() + 1e6}))
        await transport.get("account")
