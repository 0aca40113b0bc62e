"""The account: its credit, its SSH keys, and what its key may do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_runpod.sandbox.bill import Rates
from peft_studio_runpod.sandbox.catalogue import Wish, find_gpu
from peft_studio_runpod.sandbox.pods import Pod
from peft_studio_runpod.sandbox.problems import Refusal
from peft_studio_runpod.sandbox.reading import read_json
from peft_studio_runpod.sandbox.specification import require_body

ID: Final = "user_sandbox"
EMAIL: Final = "sandbox@example.com"
#: Enough for every test, USD.
CREDIT: Final = Decimal(10_000)


class Account:
    """One account, with one key."""

    def __init__(self) -> None:
        #: What it has spent, and spends in an hour; told by whoever keeps the bills.
        self.spent: Callable[[], Decimal] = Decimal
        self.rates: Callable[[], Iterable[Rates]] = tuple
        self.reset()

    def reset(self) -> None:
        """Rich, and with a key that may do everything."""
        #: Paid in so far, USD.
        self.credit = CREDIT
        self.ssh_keys: list[str] = []
        self._forbidden: list[tuple[str, re.Pattern[str]]] = []

    @property
    def balance(self) -> Decimal:
        """What is left, USD."""
        return max(self.credit - self.spent(), Decimal(0))

    @balance.setter
    def balance(self, left: Decimal | int | str) -> None:
        self.credit = Decimal(left) + self.spent()

    @property
    def spend_per_hour(self) -> Decimal:
        """What everything that it has costs now, USD."""
        return sum((rates.total for rates in self.rates()), Decimal(0))

    def forbid(self, method: str = ".*", path: str = "") -> None:
        """The key is valid and has no right to this: 403. Both are regular expressions."""
        self._forbidden.append((method, re.compile(path)))

    def read_only(self) -> None:
        """The key may look and not touch."""
        self.forbid("POST|PATCH|PUT|DELETE", "^/v2/")

    def permits(self, method: str, path: str) -> bool:
        """Whether the key may do that."""
        return not any(re.fullmatch(each, method) and pattern.search(path) for each, pattern in self._forbidden)

    def require_credit(self, wish: Wish) -> None:
        """402 unless there is enough for an hour."""
        self._require(find_gpu(wish.gpu).price(wish.cloud) * wish.count)

    def require_credit_for(self, pod: Pod) -> None:
        """The same for a pod that is to be started."""
        self._require(find_gpu(pod.place.gpu).price(pod.place.cloud) * pod.place.count)

    def routes(self) -> list[Route]:
        """The paths of REST v2."""
        path = "/v2/account/ssh-keys"
        return [Route(path, self.show_keys), Route(path, self.replace_keys, methods=["PUT"])]

    async def show_keys(self, request: Request) -> Response:
        """GET."""
        return JSONResponse({"keys": self.ssh_keys})

    async def replace_keys(self, request: Request) -> Response:
        """PUT: what is not in the list is gone."""
        self.ssh_keys = require_body("UpdateSshKeysRequest", await read_json(request))["keys"]
        return JSONResponse({"keys": self.ssh_keys})

    def _require(self, hourly: Decimal) -> None:
        if self.balance < hourly:
            raise Refusal(402, "insufficient balance")
