"""The adapter of a completed job goes to each registry once, whoever sends it and whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from peft_studio import ConnectionFailed, ConnectorManager, InvalidConfig, JobEvent, Ledger, TrainingConfig
from peft_studio.artifacts import write_manifest
from peft_studio.model_address import ModelAddress
from peft_studio.publishing.publisher import CURVE, Publisher
from peft_studio.queue import Operation, Queue, State, requests
from peft_studio.queue.deferred import Deferred, Queued
from peft_studio.queue.drain import Drainer

from .queue_platform import ACCOUNT, Account, Acme

PLACES = ("acme:me/mine", "acme:us/ours@draft")


class Trainer(Acme):
    """It has an adapter for every job, and counts how often it was asked for."""

    async def download_artifact(self, job_id, destination):
        self.account.arrive("download_artifact")
        folder = Path(destination)
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        write_manifest(folder)
        return folder


@pytest.fixture
def account() -> Account:
    """The account at the registry, and ways to spoil it."""
    ACCOUNT.clear()
    ACCOUNT.append(Account())
    return ACCOUNT[0]


class Desk:
    """A job that wants to be published, in a ledger, and a queue."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.ledger = Ledger(folder / "ledger.sqlite3")
        self.queue = Queue(folder / "queue.sqlite3", known_secrets=lambda: ())
        values = {"base_model": "model", "dataset_path": "/home/me/secret/data.jsonl", "push_to": PLACES, **settings}
        config = TrainingConfig.from_dict(values)
        self.job = self.ledger.new_tag(config)
        self.ledger.record_intent(self.job, "acme", config)
        self.ledger.record_submitted(self.job, "pod")

    def end(self, status: str = "completed", steps: int = 3) -> None:
        """The job goes to its end."""
        time = self.ledger.clock()
        log = [
            JobEvent(sequence=number, time=time, type="step", data={"step": number, "loss": 1 / number})
            for number in range(1, steps + 1)
        ]
        log.append(JobEvent(sequence=steps + 1, time=time, type="state", data={"status": status}))
        self.ledger.add_events(self.job, log)

    def ask(self, question: Callable[[ConnectorManager], Any]) -> Any:
        """In a manager of its own, as another process would."""

        async def go() -> Any:
            async with ConnectorManager(ledger=self.ledger) as manager:
                manager.registry.register(Trainer)
                return await question(manager)

        return asyncio.run(go())

    def publish(self) -> list[Operation]:
        """Queue the uploads."""
        return self.ask(lambda manager: Publisher(manager, self.ledger, self.queue).publish(self.job))

    def drain(self) -> None:
        """Carry out what waits."""
        self.queue.hurry()
        self.ask(lambda manager: Drainer(self.queue, manager, self.ledger).drain())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where adapters come to."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def desk(home: Path, account: Account) -> Desk:
    """The job while it runs."""
    return Desk(home)


def test_adapter_goes_to_each_place_once(desk: Desk, account: Account, home: Path) -> None:
    """Whoever publishes again, before it is sent or afterwards, changes nothing and fetches nothing."""
    desk.end()
    assert 2 == len(desk.publish())
    assert [each.number for each in desk.publish()] == [each.number for each in desk.queue.operations()]
    desk.drain()
    shutil.rmtree(home / "home")
    assert [State.DONE, State.DONE] == [each.state for each in desk.publish()]
    desk.drain()
    assert ["me/mine", "us/ours@draft"] == [metadata["repo_id"] for _, metadata in account.uploads]
    assert 1 == account.calls.count("download_artifact")


def test_adapter_that_is_at_home_is_not_fetched(home: Path, account: Account) -> None:
    """It goes from where the user has it."""
    desk = Desk(home, output_dir=str(home / "mine"))
    desk.end()
    desk.ask(lambda manager: manager.jobs.pull(desk.job, home / "mine"))
    desk.publish()
    desk.drain()
    assert ({str(home / "mine")}, 1) == (
        {path for path, _ in account.uploads}, account.calls.count("download_artifact"),
    )  # fmt: skip


def test_upload_with_a_key_is_done_once(desk: Desk, account: Account, home: Path) -> None:
    """Also by a process that had not seen that another one has done it."""
    (home / "weights").write_text("1")
    upload = requests.upload_artifact("acme", home / "weights", key="push:once")
    for _ in range(2):
        desk.queue.enqueue(upload)
        desk.drain()
    assert 1 == len(account.uploads)


def test_registry_is_told_what_the_files_do_not_say(desk: Desk, account: Account) -> None:
    """The data set by its file's name, without the folder of this machine; the loss, thinned out."""
    desk.end(steps=3 * CURVE)
    desk.publish()
    desk.drain()
    path, metadata = account.uploads[0]
    assert "data.jsonl" == metadata["dataset"]
    assert (CURVE, [1, 1.0], 3 * CURVE) == (
        len(metadata["loss_curve"]), metadata["loss_curve"][0], metadata["loss_curve"][-1][0],
    )  # fmt: skip
    assert (Path(path) / "adapter_model.safetensors").is_file()
    assert "secret" not in str(metadata)
    assert [("me/mine", "mine"), ("us/ours@draft", "ours")] == [
        (told["repo_id"], told["name"]) for _, told in account.uploads
    ]


@pytest.mark.parametrize("status", ["running", "failed", "cancelled", "paused"])
def test_only_what_is_complete_is_published(desk: Desk, account: Account, status: str) -> None:
    """Of a job that goes on or has failed there is no adapter."""
    desk.end(status)
    assert [] == desk.publish()
    assert [] == account.calls


def test_registry_that_is_away_gets_it_later(desk: Desk, account: Account) -> None:
    """Also when the answer to the first upload was lost: the same content under the same name."""
    desk.end()
    account.loses_answers = False
    desk.publish()
    account.offline = True
    desk.drain()
    assert [] == account.uploads
    account.offline, account.loses_answers = False, True
    desk.drain()
    account.loses_answers = False
    desk.drain()
    assert {"me/mine", "us/ours@draft"} == {metadata["repo_id"] for _, metadata in account.uploads}
    assert [State.DONE, State.DONE] == [each.state for each in desk.publish()]


def test_one_job_that_cannot_be_fetched_hides_no_other(home: Path, account: Account, caplog: Any) -> None:
    """`publish_all` goes on, and says which; a job of long ago is left alone."""
    desk = Desk(home)
    desk.end()
    account.refuses = ConnectionFailed("gone")
    desk.ask(lambda manager: Publisher(manager, desk.ledger, desk.queue).publish_all())
    assert f"the adapter of job {desk.job} cannot be published yet" in caplog.text
    account.refuses = None
    desk.ask(lambda manager: Publisher(manager, desk.ledger, desk.queue).publish_all())
    assert 2 == len(desk.queue.operations())


def test_job_of_long_ago_is_left_alone(home: Path, account: Account) -> None:
    """The queue has forgotten what became of it."""
    desk = Desk(home)
    desk.end()
    now = desk.ledger.clock()
    desk.ledger.clock = lambda: now + timedelta(days=30)
    desk.ask(lambda manager: Publisher(manager, desk.ledger, desk.queue).publish_all())
    assert [] == desk.queue.operations()


def test_upload_waits_for_a_registry_that_is_away(desk: Desk, account: Account, home: Path) -> None:
    """`push` by hand is queued when there is no connection, and says so; with one it is done at once."""
    (home / "adapter").mkdir()
    (home / "adapter" / "weights").write_text("1")

    def upload(manager: ConnectorManager) -> Any:
        deferred = Deferred(manager, desk.ledger, lambda: Queue(home / "queue.sqlite3", known_secrets=lambda: ()))
        return deferred.upload("acme", home / "adapter", {"repo_id": "me/mine"})

    assert "stored" == desk.ask(upload)
    account.offline = True
    with pytest.raises(Queued, match="is queued"):
        desk.ask(upload)
    account.offline = False
    desk.drain()
    assert 2 == len(account.uploads)


@pytest.mark.parametrize("text", ["huggingface", "me/mine", "C:/adapters", ":me", "huggingface:", "a b:c", "hub:/etc"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """On the command line and in a config, with an example of one."""
    with pytest.raises(InvalidConfig, match="no place in a registry"):
        ModelAddress.parse(text)
    with pytest.raises(InvalidConfig, match="such as huggingface:me/my-adapter"):
        TrainingConfig(base_model="m", dataset_path="d", push_to=(text,))
