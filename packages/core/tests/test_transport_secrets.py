"""A secret shows nowhere: not in errors, their chains or log lines, whatever a platform or a library says."""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_studio import PeftStudioError, Transport
from peft_studio.redaction.masking import Mask

SECRET = "sk/canary+0123456789=&"
#: The last one is what a cut through the middle would leave.
FORMS = (SECRET, quote(SECRET, safe=""), quote(SECRET), SECRET[:9])
CLEAN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nX-Request-Id: r-77\r\n\r\n{}"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that anybody logs, at the lowest level."""
    caplog.set_level(1)
    return caplog


def opened(url: str) -> Transport:
    """A client that sends the secret in every place there is."""
    headers = {"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET}
    return Transport(f"{url}/{quote(SECRET, safe='')}", headers=headers, secrets=[SECRET], timeout=1, retries=1)


def shown(error: BaseException | None) -> str:
    """All that a person, a log or a crash report would show of an error."""
    texts = ["".join(traceback.format_exception(error))] if error is not None else []
    while error is not None:
        texts += [repr(error), str(error), repr(vars(error)), repr(error.args), *getattr(error, "__notes__", ())]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def leaks(text: str) -> list[str]:
    """The forms of the secret that the text shows."""
    return [form for form in FORMS if form in text]


def said(status: int, body: Any = None, **headers: str) -> Callable[[Any], bytes]:
    """A platform that repeats the secret."""
    return lambda server: server.reply(status, body, **headers)


async def hang(request: Any, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


FAULTS: dict[str, Callable[[Any], Any]] = {
    "reset": lambda _: None,
    "silence": lambda _: hang,
    "message": said(401, {"error": {"message": f"Invalid key {SECRET}"}}),
    "message at the cut": said(400, {"detail": "x" * 290 + SECRET}),
    "quoted": said(400, {"detail": f"no {quote(SECRET, safe='')}"}),
    "unknown shape": said(400, {"code": 7, "received": [SECRET]}),
    "broken JSON": said(200, f'{{"key": "{SECRET}'.encode()),
    "page": said(200, f"<title>{SECRET}</title>".encode(), kind="text/html"),
    "text": said(500, SECRET.encode(), kind="text/plain"),
    "kind": said(200, b"x", kind=f"text/{SECRET}"),
    "redirect": said(302, Location=f"https://user:{quote(SECRET, safe='')}@acme.invalid/?key={quote(SECRET, safe='')}"),
    "redirect elsewhere": said(302, Location=f"https://{SECRET[3:9]}.invalid/{quote(SECRET, safe='')}"),
    "bad redirect": said(302, Location=f"http://[{SECRET}"),
    "no HTTP": lambda _: f"{SECRET} garbage\r\n\r\n".encode(),
    "bad header": lambda _: f"HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n".encode(),
    "cookie": said(200, None, Set_Cookie=f"session={SECRET}", X_Request_Id=SECRET),
}


async def call(transport: Transport, file: Path, way: str) -> None:
    """One request of any kind, with the secret in it."""
    query = {"key": SECRET}
    if way == "get":
        await transport.get("jobs", SECRET, query=query)
    elif way == "post":
        await transport.post("jobs", SECRET, json={"key": SECRET}, query=query, headers={"X-Other": SECRET})
    elif way == "events":
        async for _ in transport.events("jobs", SECRET, query=query, last_event_id=SECRET):
            pass
    elif way == "pages":
        async for _ in transport.pages("jobs", SECRET, query=query):
            pass
    else:
        await transport.download("jobs", SECRET, file=file, query=query, sha256="0" * 64)


@pytest.mark.parametrize("way", ["get", "post", "events", "pages", "download"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_error_shows_no_secret(
    server: Any, tmp_path: Path, log: pytest.LogCaptureFixture, fault: Callable[[Any], Any], way: str
) -> None:
    """Nor does anything that was logged on the way to it, nor the error when it is pickled."""
    server.steps = [fault(server)]

    async with opened(server.url) as transport:
        with pytest.raises(PeftStudioError) as caught:
            await call(transport, tmp_path / "file", way)

    assert [] == leaks(shown(caught.value))
    assert [] == leaks("\n".join(repr(vars(record)) + record.getMessage() for record in log.records))
    assert [] == [form for form in FORMS if form.encode() in pickle.dumps(caught.value)]


async def test_no_error_keeps_the_librarys_exception(server: Any) -> None:
    """It would hold the request with all its headers."""
    server.steps = [None]

    async with opened(server.url) as transport:
        with pytest.raises(PeftStudioError) as caught:
            await transport.get("jobs")

    assert (None, None) == (caught.value.__cause__, caught.value.__context__)


async def test_request_is_logged_without_what_may_be_secret(server: Any, log: pytest.LogCaptureFixture) -> None:
    """Method, path, status, time and the platform's number for it: no query, no header, no body."""
    server.steps = [CLEAN]

    async with opened(server.url) as transport:
        await transport.get("jobs", "7", query={"tag": "public"})

    (record,) = [record for record in log.records if record.name == "peft_studio.transport"]
    start, _, rest = record.getMessage().partition(" in ")
    assert "GET /***/jobs/7 200" == start
    assert rest.partition(" ")[2] == "ms, x-request-id r-77"
    assert logging.DEBUG == record.levelno


async def test_library_is_silent_for_us_alone(server: Any, log: pytest.LogCaptureFixture) -> None:
    """Its log shows URLs and headers; who uses it beside us still sees their own."""
    import httpx2

    server.steps = [CLEAN]
    async with opened(server.url) as transport:
        await transport.get("jobs")
    assert [] == [record for record in log.records if record.name.startswith("http")]

    async with httpx2.AsyncClient() as client:
        await client.get(server.url)
    assert [] != [record for record in log.records if record.name.startswith("httpx2")]
    assert [] != [record for record in log.records if record.name.startswith("httpcore2")]


def test_repr_shows_the_address_alone() -> None:
    """And masks it."""
    transport = Transport(f"https://acme.dev/{SECRET}", headers={"X-Api-Key": SECRET}, secrets=[SECRET])

    assert "Transport('https://acme.dev/***')" == repr(transport)


def test_address_with_a_password_is_not_repeated() -> None:
    """The error for it shows neither user nor password."""
    for url in (
        "https://user:canary@acme.dev",
        "ftp://user:canary@acme.dev",
        "https://acme.dev?key=canary",
        "x y?canary",
    ):
        with pytest.raises(PeftStudioError) as caught:
            Transport(url)
        assert "canary" not in shown(caught.value)


@given(st.text(min_size=4, max_size=20), st.text(), st.text())
def test_secret_is_masked_in_any_text(secret: str, before: str, after: str) -> None:
    """Wherever it stands."""
    masked = Mask([secret])(before + secret + after)

    assert secret not in masked or secret in "***" or secret not in before + secret + after
    assert "***" in masked


def test_mask_knows_its_limits() -> None:
    """A longer secret goes first; one of less than four letters stays, as it would mask half of every sentence."""
    assert "*** and *** abc" == Mask(["secret", "secret-longer", "abc", ""])("secret-longer and secret abc")
    assert "***" == Mask(['quo"te\n'])('quo\\"te\\n')
    assert "Mask(***)" == repr(Mask(["secret"]))
