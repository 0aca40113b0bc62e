"""A job of the Hub as a machine that is rented for one training, and what it is told to run.

A job whose command ends is over, and its bill with it. So the machine's way to end itself is not a call to the Hub, for
which it would need a token: the start command listens on loopback, and ends when the worker asks it to.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self

from attrs import frozen

from peft_studio import JobNotFound, PlatformError
from peft_studio.rented import Launch, Machine, MachineState, Offer
from peft_studio_huggingface.reading import mapping, moment, required, text, texts, whole
from peft_studio_huggingface.settings import Settings

#: Label that a job is found by.
TAG: Final = "peft-studio"
#: Loopback port inside the machine, open to nobody else.
EAR: Final = 8765
#: Seconds that the Hub gives a job beyond the worker's own deadline.
_MARGIN: Final = 600
FAILED: Final = "ERROR"
STATES: Final = {
    "SCHEDULING": MachineState.STARTING,
    "RUNNING": MachineState.RUNNING,
    FAILED: MachineState.BROKEN,
}
#: Nothing is left of these, whatever became of the training.
OVER: Final = ("COMPLETED", "CANCELED", "DELETED")
ALIVE: Final = ("SCHEDULING", "RUNNING")

_EAR: Final = f"""
from http.server import BaseHTTPRequestHandler, HTTPServer
class Ear(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(204)
        self.end_headers()
        self.server.is_over = True
    def log_message(self, *_):
        pass
ear = HTTPServer(("127.0.0.1", {EAR}), Ear)
ear.is_over = False
while not ear.is_over:
    ear.handle_request()
"""
#: $1 is the worker's start script, $2 the ear.
_COMMAND: Final = """
python=$(command -v python3 || command -v python) || { echo "there is no Python in this image" >&2; exit 1; }
sh -c "$1" & worker=$!
"$python" -c "$2" & ear=$!
trap 'kill "$ear"; kill -TERM "$worker"; wait "$worker"; exit 143' TERM INT
wait "$ear" || { kill -TERM "$worker"; wait "$worker"; exit 1; }
kill -TERM "$worker"
wait "$worker"
exit 0
"""


def job_body(offer: Offer, launch: Launch, settings: Settings) -> dict[str, Any]:
    """POST /api/jobs/{namespace}. What is secret goes where the Hub shows names alone."""
    secret = {name: value for name, value in launch.variables.items() if name.endswith("TOKEN")}
    life = float(launch.variables["PEFT_STUDIO_WORKER_DEADLINE"])
    return {
        "dockerImage": settings.image,
        "command": ["/bin/sh", "-c", _COMMAND, "peft-studio", launch.script, _EAR],
        "arguments": [],
        "environment": {name: value for name, value in launch.variables.items() if name not in secret},
        "secrets": secret,
        "flavor": offer.resource_id,
        "timeoutSeconds": int(life) + _MARGIN,
        "attempts": 1,
        "labels": {TAG: launch.tag, "name": launch.tag},
        "expose": {"ports": [launch.port], "portsPublic": [launch.port]},  # the worker asks for a token of its own
    }


def teardown_steps() -> list[dict[str, Any]]:
    """Asks the start command to end."""
    return [{"method": "POST", "url": f"http://127.0.0.1:{EAR}/", "accept": [204]}]


@frozen(kw_only=True)
class HubJob:
    """GET /api/jobs/{namespace}/{id}."""

    id: str
    tag: str | None
    stage: str
    #: Why it is in that stage.
    message: str | None
    created: datetime | None
    flavor: str | None
    address: str | None
    #: For which it has been paid, or will be.
    seconds: int | None

    @classmethod
    def of(cls, document: Any) -> Self:
        """Raises `ConnectionFailed` for another shape."""
        found, status = mapping(document), mapping(mapping(document).get("status"))
        return cls(
            id=required(document, "id", "a job"),
            tag=text(mapping(found.get("labels")).get(TAG)),
            stage=required(status, "stage", "a job's status"),
            message=text(status.get("message")),
            created=moment(found.get("createdAt")),
            flavor=text(found.get("flavor")),
            address=next(iter(texts(status.get("exposeUrls"))), None),
            seconds=whole(mapping(found.get("durations")).get("totalSecs")),
        )

    def machine(self, rates: Mapping[str, Decimal | None]) -> Machine:
        """Raises `JobNotFound` for one that is over, `PlatformError` for a stage that nobody knows."""
        if self.stage in OVER:
            raise JobNotFound(f"job {self.id} of the Hub is over", why=f"it is {self.stage}")
        if self.stage not in STATES:
            raise PlatformError(f"job {self.id} has a stage that this version does not know", why=self.stage)
        return Machine(
            id=self.id, name=self.tag or self.id, tag=self.tag, state=STATES[self.stage], status=self.stage,
            hourly_rate=rates.get(self.flavor or ""), created=self.created, resource_id=self.flavor,
            address=None if self.address is None else self.address.rstrip("/"),
        )  # fmt: skip
