"""Lists in pages: by cursor, by number, and never without an end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from peft_studio import ConnectionFailed, JobNotFound, Transport


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform."""
    async with Transport(server.url, timeout=7, retries=1) as opened:
        yield opened


async def read(pages: AsyncIterator[Any], seen: list[Any] | None = None) -> list[Any]:
    """All items; `seen` has those that come before an error."""
    seen = [] if seen is None else seen
    async for item in pages:
        seen.append(item)
    return seen


@pytest.mark.parametrize("end", [{}, {"next_cursor": None}, {"next_cursor": ""}])
async def test_cursor_leads_to_the_next_page(server: Any, transport: Transport, end: Any) -> None:
    """Until there is none; the query goes along. An empty page in between is not the end."""
    pages = [{"items": [1, 2], "next_cursor": "a/b="}, {"items": [], "next_cursor": 7}, {"items": [3], **end}]
    server.steps = [server.reply(body=page) for page in pages]

    assert [1, 2, 3] == await read(transport.pages("jobs", query={"tag": "x"}))
    assert ["/jobs?tag=x", "/jobs?tag=x&cursor=a%2Fb%3D", "/jobs?tag=x&cursor=7"] == [
        request.target for request in server.requests
    ]


async def test_fields_have_other_names_elsewhere(server: Any, transport: Transport) -> None:
    """Nested ones too."""
    server.steps = [
        server.reply(body={"data": {"jobs": [1]}, "page": {"next": "n"}}),
        server.reply(body={"data": {"jobs": []}}),
    ]

    assert [1] == await read(transport.pages("jobs", items="data.jobs", cursor="page.next", cursor_parameter="after"))
    assert {"after": ["n"]} == server.requests[1].query


@pytest.mark.parametrize("cursors", [["a", "a"], ["a", "b", "a"], [1, "1"], [7, 7]])
async def test_pages_in_a_circle_end(server: Any, transport: Transport, cursors: list[Any]) -> None:
    """With an error, after the items that were read."""
    server.steps = [server.reply(body={"items": [cursor], "next_cursor": cursor}) for cursor in cursors]
    seen: list[Any] = []

    with pytest.raises(ConnectionFailed, match=rf"pages of GET {server.url}/jobs run in a circle"):
        await read(transport.pages("jobs"), seen)

    assert cursors == seen


async def test_pages_are_numbered(server: Any, transport: Transport) -> None:
    """Until one is empty; the answer itself may be the list."""
    server.steps = [server.reply(body=page) for page in ([1, 2], [3], [])]

    assert [1, 2, 3] == await read(transport.pages("jobs", items=None, page_parameter="page", first_page=0))
    assert [["0"], ["1"], ["2"]] == [request.query["page"] for request in server.requests]


async def test_platform_that_ignores_the_number_is_found_out(server: Any, transport: Transport) -> None:
    """It would send its first page for ever."""
    server.steps = [server.reply(body={"items": [1, 2]})]

    with pytest.raises(ConnectionFailed, match="are all the same"):
        await read(transport.pages("jobs", page_parameter="page"))

    assert 2 == len(server.requests)


@pytest.mark.parametrize("answer", [{"jobs": []}, {"items": {}}, {"items": None}, [], "text", 7])
async def test_answer_without_the_list_is_no_answer(server: Any, transport: Transport, answer: Any) -> None:
    """It is not taken for an empty one: jobs would seem to be gone."""
    server.steps = [server.reply(body=answer)]

    with pytest.raises(ConnectionFailed, match=rf"GET {server.url}/jobs answered without a list in 'items'"):
        await read(transport.pages("jobs"))


async def test_no_content_is_an_empty_list(server: Any, transport: Transport) -> None:
    """204 says so."""
    server.steps = [b"HTTP/1.1 204 No Content\r\n\r\n"]

    assert [] == await read(transport.pages("jobs"))


async def test_page_is_asked_for_as_any_request(server: Any, transport: Transport) -> None:
    """A lost one again, a missing one raises what the caller says."""
    server.steps = [None, server.reply(body={"items": [1], "next_cursor": "a"}), server.reply(404)]
    seen: list[Any] = []

    with pytest.raises(JobNotFound):
        await read(transport.pages("jobs", missing=JobNotFound), seen)

    assert [1] == seen


async def test_links_lead_to_the_next_page(server: Any, transport: Transport) -> None:
    """Of a link only the query counts: behind a mirror it names another origin, which is asked nothing."""
    link = '<https://elsewhere.example/other?tag=x&cursor=a%2Fb&tag=y>; rel="next"'
    server.steps = [
        server.reply(body=[1, 2], Link=link),
        server.reply(body=[3], Link='<https://elsewhere.example/other?cursor=0>; rel="prev"'),
    ]

    assert [1, 2, 3] == await read(transport.pages("jobs", items=None, by_link=True, query={"tag": ["x", "y"]}))
    assert ["/jobs?tag=x&tag=y", "/jobs?tag=x&tag=y&cursor=a%2Fb"] == [request.target for request in server.requests]


async def test_links_in_a_circle_end(server: Any, transport: Transport) -> None:
    """With an error, after the items that were read."""
    server.steps = [server.reply(body=[1], Link="</jobs?cursor=1>; rel=next")] * 3
    seen: list[Any] = []

    with pytest.raises(ConnectionFailed, match="run in a circle"):
        await read(transport.pages("jobs", items=None, by_link=True), seen)

    assert [1, 1] == seen
