"""The HTTP API: who may ask, what is refused and how, and answers in parts."""

from __future__ import annotations

import hashlib
import json
import random

from peft_studio_worker.events import EventLog

from .conftest import TOKEN, job_of

WEIGHTS = random.Random(7).randbytes(3 << 20)


def refused(answer) -> tuple[int, str]:
    """Status and sentence of a problem."""
    assert "application/problem+json" == answer.headers["content-type"]
    assert answer.status == answer.json["status"]
    assert answer.json["title"]
    return answer.status, answer.json["detail"]


def test_only_health_is_public(worker) -> None:
    """Without the job's own token nothing is told, not even which addresses exist."""
    assert {"worker": "0.1.0", "api": 1} == worker.get("/v1/health", authorization="").json
    for path in ("/v1/job", "/v1/events", "/v1/artifact", "/v1/artifact/a", "/v1/nothing", "/"):
        for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"bearer {TOKEN}", f"Basic {TOKEN}", "Bearer " + "ü" * 40):
            answer = worker.get(path, authorization=wrong.encode("latin-1"))
            assert (401, "the token of this job is missing or wrong") == refused(answer)
            assert "Bearer" == answer.headers["www-authenticate"]
            assert TOKEN.encode() not in answer.body
    assert 401 == worker.ask("PUT", "/v1/inputs/" + "0" * 64, b"x" * 1000, authorization="", upload_length="1").status


def test_a_waiting_worker(worker) -> None:
    """It says so, and has neither artifact nor job to stop."""
    job = worker.job

    assert ("ps-job", "pending", False, False, None) == tuple(
        job[name] for name in ("id", "state", "artifact", "tearing_down", "ends_by")
    )
    assert (404, "there is no artifact yet") == refused(worker.get("/v1/artifact"))
    assert (404, "there is no artifact yet") == refused(worker.get("/v1/artifact/adapter.bin"))
    assert (409, "the job is pending, and cannot be made to pause") == refused(
        worker.post("/v1/stop", {"action": "pause"})
    )
    assert (409, "the job is pending and cannot be resumed") == refused(worker.post("/v1/resume"))
    assert 409 == worker.post("/v1/ack", {"manifest": "0" * 64}).status
    assert 404 == refused(worker.get("/v1/nothing"))[0]
    assert 405 == refused(worker.post("/v1/job"))[0]


def test_what_is_no_job(worker) -> None:
    """Each fault of the body is told in a sentence; what lacks its inputs names them."""
    job = job_of("0" * 64, 5)
    strange = job | {"config": job["config"] | {"lora_r": 8, "rank": -1}}

    assert (400, "the body is not JSON") == refused(worker.ask("PUT", "/v1/job", b"{"))
    assert (422, "the body must be a JSON object") == refused(worker.ask("PUT", "/v1/job", b"[]"))
    assert (413, "a JSON body may have 1048576 bytes at most") == refused(
        worker.ask("PUT", "/v1/job", b" " * ((1 << 20) + 1))
    )
    assert ["rank must be at least 1, not -1", "unknown key 'lora_r' (did you mean 'rank'?)"] == sorted(
        worker.ask("PUT", "/v1/job", strange).json["errors"]
    )
    for fault in ({"inputs": None}, {"config": None}, {"hourly_rate": "much"}, {"created": "noon"}):
        assert 422 == refused(worker.ask("PUT", "/v1/job", job | fault))[0]
    escaping = job_of("0" * 64, 5, dataset_path="/etc/passwd")
    assert (422, "dataset_path must be one of the inputs: inputs/<sha256><suffix>") == refused(
        worker.ask("PUT", "/v1/job", escaping)
    )
    missing = worker.ask("PUT", "/v1/job", job)
    assert (409, f"inputs are missing: {'0' * 64}") == refused(missing)
    assert ["0" * 64] == missing.json["missing"]
    assert not (worker.folder.path / "job.json").exists()


def test_cancelled_before_it_came(worker) -> None:
    """A job that is cancelled while its inputs are sent never starts."""
    digest = worker.upload(b"{}")

    assert "cancelled" == worker.post("/v1/stop", {"action": "cancel"}).json["state"]
    assert (409, "the job is cancelled") == refused(worker.ask("PUT", "/v1/job", job_of(digest, 2)))
    assert 200 == worker.post("/v1/stop", {"action": "cancel"}).status


def test_the_artifact_in_parts(make_worker) -> None:
    """Range while If-Range holds, the whole file when not; the ETag is the file's sha256."""
    worker = make_worker().finished(**{"adapter.bin": WEIGHTS, "empty": b""}).start()
    path, etag = "/v1/artifact/adapter.bin", f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'

    whole = worker.get(path)
    assert (200, etag, str(len(WEIGHTS)), WEIGHTS) == (
        whole.status, whole.headers["etag"], whole.headers["content-length"], whole.body
    )  # fmt: skip
    part = worker.get(path, range="bytes=1000000-", if_range=etag)
    assert (206, f"bytes 1000000-{len(WEIGHTS) - 1}/{len(WEIGHTS)}", WEIGHTS[1_000_000:]) == (
        part.status, part.headers["content-range"], part.body
    )  # fmt: skip
    assert WEIGHTS[5:9] == worker.get(path, range="bytes=5-8").body
    assert WEIGHTS == worker.get(path, range="bytes=5-8", if_range='"other"').body
    assert 416 == worker.get(path, range=f"bytes={len(WEIGHTS)}-").status
    assert b"" == worker.get("/v1/artifact/empty").body
    manifest = worker.get("/v1/artifact")
    assert worker.manifest == hashlib.sha256(manifest.body).hexdigest()
    assert ["adapter.bin", "empty"] == [entry["path"] for entry in manifest.json["files"]]


def test_nothing_but_the_artifact_is_served(make_worker) -> None:
    """Only what the manifest names."""
    worker = make_worker().finished(**{"adapter.bin": b"1"}).start()

    for path in ("../job.json", "..%2Fjob.json", "%2Fetc%2Fpasswd", "manifest.json", "nothing"):
        assert 404 == worker.get(f"/v1/artifact/{path}").status


def test_pages_of_a_long_log(make_worker) -> None:
    """At most 1,000 events and 1 MiB an answer; nothing is lost or doubled between pages, wherever one starts."""
    worker = make_worker().finished()
    log = EventLog(worker.folder.events)
    for number in range(3, 2700):
        log.append("log", {"message": f"line {number} ü"})
    for _ in range(3):
        log.append("log", {"message": "x" * 600_000})
    log.close()
    worker.start()

    sizes, found = [], []
    while page := worker.get(f"/v1/events?after={len(found)}").json["events"]:
        sizes.append(len(page))
        found += page
    assert [1000, 1000, 700, 1, 1] == sizes
    assert list(range(1, 2703)) == [event["sequence"] for event in found]
    kept = [json.loads(line) for line in worker.folder.events.read_bytes().splitlines()]
    assert kept == found
    for after in (255, 256, 257, 511, 512, 2699):
        assert after + 1 == worker.get(f"/v1/events?after={after}").json["events"][0]["sequence"]


def test_events_of_a_waiting_worker(worker) -> None:
    """A long poll ends without events when its time is over; a number from the future is answered with the true one."""
    first = worker.get("/v1/events?after=0&wait=30").json
    assert ["worker 0.1.0 waits for its job"] == [event["message"] for event in first["events"]]
    assert {"events": [], "last": 1, "is_over": False} == worker.get("/v1/events?after=1&wait=0.1").json
    assert {"events": [], "last": 1, "is_over": False} == worker.get("/v1/events?after=99").json
    for query in ("after=x", "wait=-1", "wait=soon", "after=-1"):
        assert 400 == refused(worker.get(f"/v1/events?{query}"))[0]
