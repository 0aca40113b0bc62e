"""The teardown recipe: the calls with which a machine ends itself at its platform.

Each platform has its own call, some have several that work on different days, so the recipe is data: steps that are
tried in order. A step's texts may name variables of the machine, for the id and key that the platform injects.
"""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException, HTTPMessage
from typing import IO, Any, Final
from urllib.parse import urlsplit

from attrs import field, frozen

from peft_studio_worker import __version__

#: Edges of platforms refuse the agents of general libraries.
USER_AGENT: Final = f"peft-studio-worker/{__version__}"
VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: Seconds for one call.
TIMEOUT: Final = 30.0
_ACCEPTED: Final = (200, 202, 204, 404)


@frozen
class Step:
    """One call, and the answers that mean that the machine is or will be gone."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    json: Any = field(default=None, repr=False)
    accept: tuple[int, ...] = _ACCEPTED

    @property
    def variables(self) -> set[str]:
        """Names of the variables that fill it."""
        return set(VARIABLE.findall(json.dumps([self.url, dict(self.headers), self.json])))

    def __str__(self) -> str:
        """Method and host: the rest may be secret."""
        return f"{self.method} {urlsplit(self.url).netloc.rpartition('@')[2]}"


def parse_steps(text: str) -> tuple[Step, ...]:
    """The steps of a recipe in JSON. Raises `ValueError` with a sentence that repeats nothing of it."""
    try:
        items = json.loads(text)
    except ValueError:
        raise ValueError("must be a JSON list of steps") from None
    if not isinstance(items, list) or not items:
        raise ValueError("must be a JSON list of at least one step")
    return tuple(_step(item, f"has a step {number}") for number, item in enumerate(items, start=1))


def _step(item: Any, what: str) -> Step:
    if not isinstance(item, dict) or not isinstance(item.get("url"), str):
        raise ValueError(f"{what} without a url")  # noqa: TRY004 -- wrong data, not a wrong call
    if not item["url"].startswith(("https://", "http://")):
        raise ValueError(f"{what} whose url is not http or https")
    unknown = sorted(set(item) - {"method", "url", "headers", "json", "accept"})
    if unknown:
        raise ValueError(f"{what} with an unknown key {unknown[0]!r}")
    headers = item.get("headers") or {}
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError(f"{what} whose headers are not texts")
    accept = item.get("accept", list(_ACCEPTED))
    if not isinstance(accept, list) or not all(isinstance(code, int) for code in accept):
        raise ValueError(f"{what} whose accept is not a list of HTTP statuses")
    method = str(item.get("method", "DELETE"))
    if not re.fullmatch("[A-Z]+", method):
        raise ValueError(f"{what} whose method is not one of HTTP")
    return Step(method, item["url"], headers, item.get("json"), tuple(accept))


def try_all(steps: Sequence[Step], values: Mapping[str, str]) -> str | None:
    """Try the steps in order until one is accepted. Returns None then, else what went wrong with each."""
    faults = []
    for step in steps:
        fault = run(step, values)
        if fault is None:
            return None
        faults.append(f"{step}: {fault}")
    return "; ".join(faults) or "there is no teardown recipe"


def run(step: Step, values: Mapping[str, str]) -> str | None:
    """Make one call. Returns None when its answer is accepted, else why not: never a part of the request."""
    filled = _filled({"url": step.url, "headers": dict(step.headers), "json": step.json}, values)
    body = None if step.json is None else json.dumps(filled["json"]).encode()
    headers = {"User-Agent": USER_AGENT, **filled["headers"]}
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    try:
        request = urllib.request.Request(filled["url"], body, headers, method=step.method)  # noqa: S310 -- http(s) only, see _step
        with _opener().open(request, timeout=TIMEOUT) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    except urllib.error.URLError as error:
        return f"no answer ({type(error.reason).__name__})"
    except (OSError, HTTPException, ValueError) as error:
        return f"no answer ({type(error).__name__})"
    return None if status in step.accept else f"HTTP {status}"


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: values[found[1]], value)
    if isinstance(value, dict):
        return {_filled(key, values): _filled(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    return value


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key must not travel to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    secure = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    return urllib.request.build_opener(secure, _NoRedirects)
