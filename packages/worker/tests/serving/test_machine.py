"""A machine that ends itself: teardown, markers, limits, and a client that never comes."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from peft_studio_worker.events import EventLog
from peft_studio_worker.job_folder import write_json
from peft_studio_worker.serving.teardown import parse_steps, try_all

from .conftest import TOKEN, job_of, until


@pytest.fixture
def machine(make_worker, make_platform):
    """Make a worker with a platform that can be told to end it."""

    def make(*statuses: int, **settings: str):
        platform = make_platform(*statuses)
        worker = make_worker(TEARDOWN=platform.recipe(), RETRY="0.1", **settings)
        worker.more = {"POD_ID": "pod-7", "POD_KEY": "rpa_SECRETKEY"}
        worker.platform = platform
        return worker

    return make


def ended(worker) -> str:
    """Wait for the teardown; the reason that the log gives."""
    until(lambda: worker.messages()[-1:] == ["the platform has accepted the teardown of this machine"])
    [reason] = [message for message in worker.messages() if message.startswith("the machine ends: ")]
    return reason.removeprefix("the machine ends: ")


def test_acknowledged_twice_and_restarted(machine) -> None:
    """The acknowledgement is idempotent; a container that is started again afterwards only tears down again."""
    worker = machine(500, 500).finished(**{"adapter.bin": b"1"}).start()
    assert 409 == worker.post("/v1/ack", {"manifest": "0" * 64}).status
    assert 422 == worker.post("/v1/ack", {"manifest": "none"}).status
    assert [200, 200] == [worker.post("/v1/ack", {"manifest": worker.manifest}).status for _ in range(2)]

    assert "the client has the artifact" == ended(worker)
    assert 3 == len(worker.platform.requests)
    assert "HTTP 500" in worker.messages()[-2]
    assert 409 == worker.post("/v1/resume").status
    worker.kill()
    worker.start()

    until(lambda: len(worker.platform.requests) == 4)
    assert "the worker was restarted after the job was over (the client has the artifact)" in worker.messages()
    assert worker.job["tearing_down"]
    assert [] == worker.processes()


def test_between_the_last_word_and_the_end(machine) -> None:
    """A client is not refused because processes of the job still end; the machine waits for them."""
    delivered = machine().finished(**{"adapter.bin": b"1"})
    paused = machine().finished("paused")
    locks = [each.folder.take_lock() for each in (delivered, paused)]
    delivered.start()
    paused.start()

    assert 200 == delivered.post("/v1/ack", {"manifest": delivered.manifest}).status
    assert not delivered.job["tearing_down"]
    os.close(locks[0])
    assert "the client has the artifact" == ended(delivered)
    threading.Timer(0.2, os.close, locks[1:]).start()
    assert "cancelled" == paused.post("/v1/stop", {"action": "cancel"}).json["state"]


def test_abandoned(machine) -> None:
    """A client that wants nothing any more may say so at any time when the job does not run."""
    worker = machine().start()

    assert 200 == worker.post("/v1/ack", {"abandon": True}).status
    assert "the client gave the job up" == ended(worker)


def test_nobody_comes(machine) -> None:
    """Neither a job at the beginning nor a client at the end."""
    waiting = machine(WAIT="0.5").start()
    finished = machine(KEEP="0.5").finished(**{"adapter.bin": b"1"}).start()

    assert "no job came within 0.5 s" == ended(waiting)
    assert "the job has stopped, and no client has come for 0.5 s" == ended(finished)


def test_deadline_and_cost_count_from_the_creation(machine) -> None:
    """A machine that was rented two hours ago is at its end, whoever started the worker, and however lately."""
    created = {"CREATED": "2026-01-31T12:00:00Z"}
    old = machine(DEADLINE="7200", **created).finished(**{"adapter.bin": b"1"}).start()
    dear = machine(MAX_COST="5", HOURLY_RATE="2.5", **created).finished(**{"adapter.bin": b"1"}).start()

    assert "the machine's deadline of 7200 s is reached" == ended(old)
    assert "the machine's maximum cost of 5 USD is reached" == ended(dear)
    assert "2026-01-31T14:00:00.000Z" == old.job["ends_by"] == dear.job["ends_by"]
    assert float(dear.job["cost"]) > 5


def test_the_deadline_survives_restarts(machine) -> None:
    """Where the creation is not known the first start counts, not the last."""
    worker = machine(DEADLINE="1000").finished("paused").start()
    before = worker.job["ends_by"]
    worker.kill()
    worker.start()

    assert before == worker.job["ends_by"]


@pytest.mark.slow
def test_paused_before_the_deadline(machine, tiny_model, facts_file) -> None:
    """The job stops while there is time; it cannot go on; at the deadline the machine is gone."""
    worker = machine(DEADLINE="3600").start()
    content = facts_file.read_bytes()
    job = job_of(worker.upload(content), len(content), base_model=str(tiny_model), num_epochs=10**5)
    created = datetime.now(UTC) - timedelta(seconds=3590)
    assert 201 == worker.ask("PUT", "/v1/job", {**job, "created": created.isoformat()}).status

    until(lambda: worker.job["state"] == "paused")
    assert "the machine's deadline of 3600 s is near" == worker.job["reason"]
    assert 409 == worker.post("/v1/resume").status
    assert "the machine's deadline of 3600 s is reached" == ended(worker)
    assert [] == worker.processes()


def test_killed_before_the_first_checkpoint(make_worker) -> None:
    """A machine that was restarted in the middle of nothing does not try for ever: the client decides."""
    worker = make_worker().finished()
    worker.folder.events.write_bytes(worker.folder.events.read_bytes().splitlines(keepends=True)[0])
    worker.start()

    job = worker.job
    assert ("failed", "the machine was restarted before the first checkpoint", True) == (
        job["state"], job["reason"], job["resumable"]
    )  # fmt: skip


def test_a_supervisor_that_cannot_start(make_worker) -> None:
    """It is a failed job with the supervisor's last words, not one that is pending for ever."""
    worker = make_worker(MAX_COST="5").finished()
    worker.folder.events.unlink()
    worker.start()

    job = worker.job
    assert "failed" == job["state"]
    assert job["reason"].startswith("the supervisor ended without a word (killed or crashed); its last words: ")
    assert "base_model is missing" in job["reason"]
    assert "nobody has told the hourly rate: the maximum cost cannot be kept" in worker.messages()


def test_a_torn_log_is_mended(make_worker) -> None:
    """A line that was half written when the machine died is nobody's event."""
    worker = make_worker().finished()
    with worker.folder.events.open("ab") as log:
        log.write(b'{"sequence":3,"ti')
    worker.start()

    assert [1, 2] == [event["sequence"] for event in worker.events()]
    log = EventLog(worker.folder.events)
    log.append("log", {"message": "ü"})
    log.close()
    assert [1, 2, 3] == [event["sequence"] for event in worker.events()]


def test_steps_are_tried_in_order(make_platform) -> None:
    """The first that is accepted ends it; what failed is told without a key, and a redirect is not followed."""
    elsewhere, platform = make_platform(), make_platform(403, 302, 404)
    steps = parse_steps(
        json.dumps([
            {"method": "DELETE", "url": f"{platform.url}/v2/${{ID}}", "headers": {"authorization": "Bearer ${KEY}"}},
            {"method": "POST", "url": f"{platform.url}/action", "json": {"id": "${ID}", "why": ["${KEY}"]}},
            {"method": "DELETE", "url": f"{platform.url}/old/${{KEY}}", "accept": [204]},
            {"method": "DELETE", "url": "http://127.0.0.1:1/${KEY}"},
        ])
    )  # fmt: skip
    where = platform.url.removeprefix("http://")
    platform.location = elsewhere.url

    fault = try_all(steps, {"ID": "pod-7", "KEY": "rpa_SECRETKEY"})

    assert (
        f"DELETE {where}: HTTP 403; POST {where}: HTTP 302; DELETE {where}: HTTP 404; "
        "DELETE 127.0.0.1:1: no answer (ConnectionRefusedError)"
    ) == fault
    assert {"id": "pod-7", "why": ["rpa_SECRETKEY"]} == json.loads(platform.requests[1]["body"])
    assert [] == elsewhere.requests
    assert None is try_all(steps, {"ID": "pod-7", "KEY": "rpa_SECRETKEY"})
    assert "there is no teardown recipe" == try_all([], {})


def test_no_recipe(make_worker) -> None:
    """Without a recipe the end is the client's business, and the log says so."""
    worker = make_worker(WAIT="0.2").start()

    until(lambda: "there is no teardown recipe: the client must end this machine" in worker.messages())
    assert worker.job["tearing_down"]


def test_tls_with_a_certificate_that_the_client_brings(make_worker, tmp_path) -> None:
    """The client trusts this certificate and no other; a key that does not belong to it is refused."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=worker", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*make, "-keyout", key, "-out", certificate, *subject], check=True, capture_output=True)
    worker = make_worker(CERTIFICATE=certificate.read_text(), KEY=key.read_text())
    worker.tls = ssl.create_default_context(cafile=certificate)
    worker.start()

    assert "pending" == worker.job["state"]
    worker.tls = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        worker.get("/v1/job")
    assert b"PRIVATE KEY" not in b"".join(path.read_bytes() for path in worker.root.rglob("*") if path.is_file())

    damaged = make_worker(CERTIFICATE=certificate.read_text(), KEY=certificate.read_text())
    assert 78 == damaged.spawn().wait(60)
    assert "_CERTIFICATE and _KEY are no pair that can be used" in damaged.said.read_text()


def test_bad_settings_and_a_port_in_use(worker, make_worker) -> None:
    """One line on stderr, exit code 78, and no token in it or in the list of processes."""
    second = make_worker(PORT=str(worker.port))
    assert 78 == second.spawn().wait(60)
    assert f"cannot listen on 127.0.0.1:{worker.port}: Address already in use" in second.said.read_text()

    third = make_worker(PORT="x", TOKEN="sh0rt")
    assert 78 == third.spawn().wait(60)
    assert 1 == len(third.said.read_text().splitlines())
    assert "sh0rt" not in third.said.read_text()
    assert TOKEN.encode() not in Path(f"/proc/{worker.process.pid}/cmdline").read_bytes()


def test_a_signal_ends_streams_and_the_worker(worker) -> None:
    """SIGTERM is answered at once, even while a client listens."""
    connection = worker.connect()
    headers = {"authorization": f"Bearer {TOKEN}", "accept": "text/event-stream"}
    connection.request("GET", "/v1/events", headers=headers)
    answer = connection.getresponse()
    assert b": events\n" == answer.readline()

    assert 0 == worker.kill(signal.SIGTERM)

    assert answer.read().endswith(b"\n\n")
    connection.close()


def test_the_package_is_light() -> None:
    """Connectors read the start command without a web server."""
    script = "import sys; from peft_studio_worker.serving import bootstrap_script as b; print(len(b()), *sys.modules)"
    words = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()

    assert int(words[0]) > 1000
    assert not {"starlette", "uvicorn", "torch"} & set(words)


def test_a_log_that_cannot_be_read_keeps_no_machine_alive(machine) -> None:
    """Nobody knows any more how the job is; the machine ends at its limit all the same."""
    worker = machine(DEADLINE="2").finished(**{"adapter.bin": b"1"}).start()
    with worker.folder.events.open("ab") as log:
        log.write(b'{"type":"state", damaged\n')

    until(lambda: worker.platform.requests)
    assert "the machine ends: the machine's deadline of 2 s is reached" in worker.said.read_text()


def test_a_machine_that_stood_still_has_not_aged(machine) -> None:
    """A paused job's machine is stopped for days, for little money: it does not end when it is started again."""
    worker = machine(DEADLINE="7200").finished("paused")
    days_ago = datetime.now(UTC) - timedelta(days=9)
    aged(worker, days_ago)
    worker.start()

    left = datetime.fromisoformat(worker.job["ends_by"]) - datetime.now(UTC)
    assert timedelta(hours=1) < left <= timedelta(hours=2)
    worker.kill()
    worker.start()
    again = datetime.fromisoformat(worker.job["ends_by"]) - datetime.now(UTC)
    assert timedelta(0) <= left - again < timedelta(hours=1)
    assert [] == worker.platform.requests


def test_a_machine_that_waited_has_aged(machine) -> None:
    """Where the worker was there until a moment ago the machine did not stand still, whatever its job did."""
    worker = machine(DEADLINE="7200").finished("paused")
    aged(worker, datetime.now(UTC) - timedelta(days=9), last_seen=time.time())
    worker.start()

    assert "the machine's deadline of 7200 s is reached" == ended(worker)


def aged(worker, since: datetime, **record: float) -> None:
    """Let machine and job be as old as that."""
    lines = [json.loads(line) for line in worker.folder.events.read_bytes().splitlines()]
    lines = [{**line, "time": since.isoformat(timespec="milliseconds")} for line in lines]
    worker.folder.events.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    write_json(worker.folder.path / "machine.json", {"first_start": since.timestamp(), **record})


def test_money_counts_from_the_creation_that_comes_with_the_job(machine) -> None:
    """The platform bills the time before the worker came up, too; the client has asked it since when."""
    worker = machine(MAX_COST="5", HOURLY_RATE="2.5").finished(**{"adapter.bin": b"1"})
    created = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    worker.folder.write_job({**worker.folder.read_job(), "created": created.isoformat()})
    worker.start()

    assert "the machine's maximum cost of 5 USD is reached" == ended(worker)
    assert created == datetime.fromisoformat(worker.job["started"])


def test_a_creation_that_cannot_be_is_not_believed(machine) -> None:
    """No machine takes a day to start: where the platform's clock is another one, the first start counts."""
    worker = machine(DEADLINE="7200").finished(**{"adapter.bin": b"1"})
    worker.folder.write_job({**worker.folder.read_job(), "created": "2026-01-31T12:00:00+00:00"})
    before = datetime.now(UTC)
    worker.start()

    assert before - timedelta(seconds=1) < datetime.fromisoformat(worker.job["started"])
    assert not worker.job["tearing_down"]
