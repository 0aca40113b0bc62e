"""Signed addresses: whoever has one may do that one thing for a while, without a token."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Final

from starlette.requests import Request

from peft_studio_testkit.sandbox.clock import Clock

#: How long an address is good for, seconds of the platform's clock. Made up.
LIFETIME: Final = 3600


class Signer:
    """Signs, and checks signatures."""

    def __init__(self, clock: Clock, origin: Callable[[], str]) -> None:
        self._clock = clock
        self._origin = origin
        self._secret = secrets.token_bytes(32)

    def sign(self, method: str, path: str) -> str:
        """The address for that method and path."""
        expires = int(self._clock.now()) + LIFETIME
        return f"{self._origin()}{path}?expires={expires}&signature={self._signature(method, path, expires)}"

    def complaint(self, request: Request) -> str | None:
        """What is wrong with the address of a request."""
        expires = request.query_params.get("expires", "")
        method = "GET" if request.method == "HEAD" else request.method
        given = request.query_params.get("signature", "")
        if not expires.isdecimal() or not hmac.compare_digest(
            given.encode(), self._signature(method, request.url.path, int(expires)).encode()
        ):
            return "SignatureDoesNotMatch"
        return "ExpiredToken" if self._clock.now() > int(expires) else None

    def _signature(self, method: str, path: str, expires: int) -> str:
        return hmac.digest(self._secret, f"{method} {path} {expires}".encode(), "sha256").hex()
