"""One job from its upload to the end of its machine, with a real training in between."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from .conftest import TOKEN, until

pytestmark = pytest.mark.slow


def server_sent(worker: Any, after: int) -> list[dict[str, Any]]:
    """Every event of a stream until it ends by itself."""
    connection = worker.connect()
    headers = {"authorization": f"Bearer {TOKEN}", "accept": "text/event-stream", "last-event-id": str(after)}
    connection.request("GET", "/v1/events", headers=headers)
    blocks = connection.getresponse().read().decode().split("\n\n")
    connection.close()
    events = []
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append(json.loads(fields["data"]))
            assert fields["id"] == str(events[-1]["sequence"])
    return events


def test_from_upload_to_teardown(make_worker, make_platform, tiny_model, facts_file) -> None:
    """Trained, followed both ways, collected, acknowledged: then the machine ends, and no secret was said anywhere."""
    platform = make_platform(500)
    worker = make_worker(TEARDOWN=platform.recipe(), RETRY="0.1", HOURLY_RATE="0.5", DEADLINE="3600")
    worker.more = {"POD_ID": "pod-7", "POD_KEY": "rpa_SECRETKEY"}
    worker.start()

    created = worker.submit(facts_file, base_model=str(tiny_model), max_steps=3, output_dir="/nowhere")
    again = worker.submit(facts_file, base_model=str(tiny_model), max_steps=3)
    other = worker.submit(facts_file, base_model=str(tiny_model), max_steps=4)
    assert [201, 200, 409] == [created.status, again.status, other.status]
    assert "running" == created.json["state"]

    first = worker.get("/v1/events?after=0&wait=60").json
    streamed = server_sent(worker, first["last"])
    followed = [*first["events"], *streamed]
    assert list(range(1, len(followed) + 1)) == [event["sequence"] for event in followed]
    assert "completed" == [event["status"] for event in followed if event["type"] == "state"][-1]
    assert [1, 2, 3] == [event["step"] for event in followed if event["type"] == "step"]
    assert worker.events() == followed
    assert {"events": [], "last": len(followed), "is_over": True} == worker.get(
        f"/v1/events?after={len(followed)}"
    ).json

    manifest = worker.get("/v1/artifact")
    for entry in manifest.json["files"]:
        content = worker.get(f"/v1/artifact/{entry['path']}").body
        assert (entry["size"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert 409 == worker.post("/v1/ack", {"manifest": "0" * 64}).status
    assert not worker.job["tearing_down"]
    acknowledged = worker.post("/v1/ack", {"manifest": hashlib.sha256(manifest.body).hexdigest()})
    assert acknowledged.json["acknowledged"]

    until(lambda: len(platform.requests) == 2)
    assert {("DELETE", "/pods/pod-7")} == {(each["method"], each["path"]) for each in platform.requests}
    assert {"Bearer rpa_SECRETKEY"} == {each["headers"]["Authorization"] for each in platform.requests}
    assert platform.requests[0]["headers"]["User-Agent"].startswith("peft-studio-worker/")
    until(lambda: "accepted the teardown" in worker.messages()[-1])
    assert worker.job["tearing_down"]
    assert worker.process.poll() is None

    everything = [path.read_bytes() for path in worker.root.rglob("*") if path.is_file()] + [worker.said.read_bytes()]
    for secret in (TOKEN, "rpa_SECRETKEY"):
        assert not any(secret.encode() in content for content in everything)


def test_pause_resume_kill_and_go_on(make_worker, tiny_model, facts_file) -> None:
    """A killed worker finds its job; paused by wish it stays so; killed in the middle it goes on; no line is lost."""
    worker = make_worker().start()
    worker.submit(facts_file, base_model=str(tiny_model), num_epochs=10**5, checkpoint_steps=2)
    until(lambda: b'"type":"checkpoint"' in worker.folder.events.read_bytes())
    [supervisor] = [each for each in worker.processes() if b"supervise" in Path(f"/proc/{each}/cmdline").read_bytes()]
    environments = [Path(f"/proc/{each}/environ").read_bytes() for each in worker.processes()]
    assert len(environments) == 2
    assert not any(TOKEN.encode() in text or b"PEFT_STUDIO_WORKER_" in text for text in environments)

    worker.kill()
    worker.start()
    assert "running" == worker.job["state"]
    assert supervisor in worker.processes()

    assert [200, 200] == [worker.post("/v1/stop", {"action": "pause"}).status for _ in range(2)]
    until(lambda: worker.job["state"] == "paused")
    assert 409 == worker.post("/v1/ack", {"manifest": "0" * 64}).status
    worker.kill()
    worker.start()
    assert "paused" == worker.job["state"]
    assert [] == worker.processes()

    assert "running" == worker.post("/v1/resume").json["state"]
    until(lambda: b'"type":"step"' in worker.folder.events.read_bytes().rpartition(b'"running"')[2])
    worker.end()
    worker.start()
    assert "running" == worker.job["state"]

    assert 0 == worker.kill(signal.SIGTERM)
    assert [] == worker.processes()
    worker.start()
    assert "running" == worker.job["state"]
    assert 200 == worker.post("/v1/stop", {"action": "cancel"}).status
    until(lambda: worker.job["state"] == "cancelled")

    events = worker.events()
    assert list(range(1, len(events) + 1)) == [event["sequence"] for event in events]
    states = [(event["status"], event.get("reason")) for event in events if event["type"] == "state"]
    assert [
        ("running", None),
        ("paused", "asked to pause"),
        ("running", None),
        ("running", None),
        ("paused", "the machine asked the job to stop"),
        ("running", None),
        ("cancelled", "asked to cancel"),
    ] == states
