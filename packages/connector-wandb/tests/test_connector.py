"""The connector against the sandbox: what is at W&B afterwards is what was told, once, whatever happened on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from peft_studio import (
    ArtifactNotFound,
    ConnectionFailed,
    InvalidConfig,
    InvalidCredentials,
    JobNotFound,
    JobStatus,
    PlatformError,
    RunBatch,
    RunLine,
    RunRow,
)
from peft_studio_wandb.connector import WandbConnector
from peft_studio_wandb.sandbox import WandbSandbox

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
Work = Callable[[WandbConnector], Awaitable[Any]]


class Hasty(WandbConnector):
    """One that believes W&B's counts at once: here they are not behind."""

    settling = 0.0


def use(sandbox: WandbSandbox, work: Work, **changes: str) -> Any:
    """What `work` answers, with a connector of its own."""

    async def go() -> Any:
        connector = Hasty()
        await connector.connect({**sandbox.credentials(), **changes})
        try:
            return await work(connector)
        finally:
            await connector.disconnect()

    return asyncio.run(go())


def batch(first: int, count: int, **more: Any) -> RunBatch:
    """Rows and lines that begin at a place."""
    rows = tuple(RunRow(step=step, time=NOON, metrics={"loss": 1 / (step + 1)}) for step in range(first, first + count))
    lines = tuple(RunLine(time=NOON, text=f"line {number}") for number in range(first, first + count))
    return RunBatch(rows=rows, first_row=first, lines=lines, first_line=first, summary={"loss": 0.5}, **more)


def sending(run: str, piece: RunBatch) -> Work:
    """The work of one piece."""
    return lambda connector: connector.log_batch(run, piece)


def bringing(artifact: str, home: Path) -> Work:
    """The work of one download."""
    return lambda connector: connector.download_version(artifact, home)


def test_run_is_the_one_that_its_name_says(sandbox: WandbSandbox) -> None:
    """The same run_id is the same run, from another process too; its config stays."""
    config = {"run_id": "job-1", "project_name": "lora", "rank": 8, "display_name": "first", "tags": ["lora"]}
    paths = {use(sandbox, lambda connector: connector.start_run(config), entity="acme") for _ in range(2)}
    run = sandbox.run("job-1")
    assert ({"acme/lora/job-1"}, "first", ["lora"]) == (paths, run.display_name, run.fields["tags"])
    assert {"project_name": "lora", "rank": 8} == sandbox.runs["job-1"].config


def test_run_goes_to_the_project_of_the_settings(sandbox: WandbSandbox) -> None:
    """Without project_name in the config it is that of the settings, and without one of those it is peft-studio."""
    start: Work = lambda connector: connector.start_run({"run_id": "job-1"})  # noqa: E731 -- a piece of work, named
    assert "jo/peft-studio/job-1" == use(sandbox, start)
    assert "acme/mine/job-1" == use(sandbox, start, entity="acme", project="mine")


def test_foreign_entity_is_no_wrong_key(sandbox: WandbSandbox) -> None:
    """A 403 knows the key, and says to look at the entity."""
    with pytest.raises(PlatformError, match="permission denied") as caught:
        use(sandbox, lambda connector: connector.start_run({}), entity="strangers")
    assert "entity" in (caught.value.remedy or "")


def test_polite_server_does_not_hide_a_wrong_key(sandbox: WandbSandbox) -> None:
    """An answer of 200 whose viewer is null means that the key is not known."""
    sandbox.is_polite_to_strangers = True
    with pytest.raises(InvalidCredentials):
        use(sandbox, lambda connector: connector.verify_connection(), api_key="x" * 40)


def test_deleted_name_is_refused_in_their_words(sandbox: WandbSandbox) -> None:
    """A run that was deleted takes its name along."""
    use(sandbox, lambda connector: connector.start_run({"run_id": "job-1"}))
    sandbox.workspace.delete(sandbox.run("job-1"))
    with pytest.raises(PlatformError, match="previously created and deleted"):
        use(sandbox, lambda connector: connector.start_run({"run_id": "job-1"}))


def test_what_was_lost_goes_with_the_next(sandbox: WandbSandbox) -> None:
    """Rows that could not be sent keep their place and arrive with the next one, in order."""

    async def work(connector: WandbConnector) -> None:
        run = await connector.start_run({"run_id": "job-1"})
        sandbox.faults.add("reset_before", times=None)
        for step in (1, 2):
            with pytest.raises(ConnectionFailed):
                await connector.log_metrics(run, {"loss": float(step)}, step)
        sandbox.faults.clear()
        await connector.log_metrics(run, {"loss": 3.0}, 3)

    use(sandbox, work)
    assert [(1, {"loss": 1.0}), (2, {"loss": 2.0}), (3, {"loss": 3.0})] == sandbox.runs["job-1"].metrics


def test_metrics_of_a_step_are_one_row(sandbox: WandbSandbox) -> None:
    """What is logged later for a step joins its row; the same again changes nothing."""

    async def work(connector: WandbConnector) -> list[Any]:
        run = await connector.start_run({"run_id": "job-1"})
        for metrics in ({"loss": 1.0}, {"eval": 2.0}, {"loss": 1.0}):
            await connector.log_metrics(run, metrics, 5)
        return await connector.get_metrics(run)

    assert [{"step": 5, "loss": 1.0, "eval": 2.0}] == use(sandbox, work)
    assert 1 == len(sandbox.run("job-1").history.rows)


def test_what_is_logged_while_its_row_is_under_way_is_sent_too(sandbox: WandbSandbox) -> None:
    """Two that measure the same step at once lose nothing: the answer is to the row as it was sent."""

    async def work(connector: WandbConnector) -> None:
        run = await connector.start_run({"run_id": "job-1"})
        await asyncio.gather(*(connector.log_metrics(run, {name: 1.0}, 5) for name in ("loss", "eval", "norm")))

    use(sandbox, work)
    assert [(5, {"loss": 1.0, "eval": 1.0, "norm": 1.0})] == sandbox.runs["job-1"].metrics


def test_another_process_goes_on_at_the_end(sandbox: WandbSandbox) -> None:
    """A run that another process has begun is gone on with after its last row and line."""
    run = use(sandbox, lambda connector: connector.start_run({"run_id": "job-1"}))

    def log(step: int) -> Work:
        async def work(connector: WandbConnector) -> None:
            await connector.log_metrics(run, {"loss": float(step)}, step)
            await connector.log_text(run, f"step {step}\nand on")

        return work

    for step in (1, 2):
        use(sandbox, log(step))
    told = sandbox.runs["job-1"]
    assert [(1, {"loss": 1.0}), (2, {"loss": 2.0})] == told.metrics
    assert ["step 1", "and on", "step 2", "and on"] == told.text
    assert [] == sandbox.run("job-1").history.replaced


def test_batch_again_changes_nothing(sandbox: WandbSandbox) -> None:
    """A piece of a run that is repeated by another process is there once, console lines too."""
    run = use(sandbox, lambda connector: connector.start_run({"run_id": "job-1"}))
    for piece in (batch(0, 3), batch(0, 3), batch(3, 2, status=JobStatus.COMPLETED), batch(0, 3)):
        use(sandbox, sending(run, piece))
    truth = sandbox.run("job-1")
    assert ([0, 1, 2, 3, 4], []) == ([row["_step"] for row in truth.history.rows], truth.history.replaced)
    assert [f"line {number}" for number in range(5)] == sandbox.runs["job-1"].text


def test_batch_ends_the_run(sandbox: WandbSandbox) -> None:
    """The last piece closes the run, with a summary that says how."""
    run = use(sandbox, lambda connector: connector.start_run({"run_id": "job-1"}))
    use(sandbox, lambda connector: connector.log_batch(run, batch(0, 1, status=JobStatus.CANCELLED)))
    assert '{"loss": 0.5, "job_status": "cancelled"}' == sandbox.run("job-1").summary
    assert "cancelled" == sandbox.runs["job-1"].status


def test_end_told_by_another_process_keeps_the_summary() -> None:
    """W&B shows a summary some seconds late: who closes a run that others wrote waits for it, lest it be undone."""

    class Patient(WandbConnector):
        settling = 1.0

    async def work(sandbox: WandbSandbox) -> None:
        connector = Patient()
        await connector.connect(sandbox.credentials())
        run = await connector.start_run({"run_id": "job-1"})
        for piece in (batch(0, 1), batch(1, 1)):
            await connector.log_batch(run, piece)
        await connector.disconnect()
        await connector.connect(sandbox.credentials())
        await connector.finish_run(run, JobStatus.CANCELLED)
        await connector.disconnect()

    with WandbSandbox(speed=100) as sandbox:
        sandbox.run_fields.lag = 80
        asyncio.run(work(sandbox))
        assert '{"loss": 0.5, "job_status": "cancelled"}' == sandbox.run("job-1").summary


def test_odd_lines_cost_no_row(sandbox: WandbSandbox) -> None:
    """A line that is too long is cut, and half of a pair replaced: what comes with them arrives."""
    run = use(sandbox, lambda connector: connector.start_run({"run_id": "job-1"}))
    texts = "x" * 11_000_000, "half \ud800", "two\x85lines"
    odd = evolve(batch(0, 2), lines=tuple(RunLine(time=NOON, text=text) for text in texts))
    use(sandbox, lambda connector: connector.log_batch(run, odd))
    told = sandbox.runs["job-1"]
    assert ([0, 1], ["half ?", "two lines"]) == ([step for step, _ in told.metrics], told.text[1:])
    assert told.text[0].endswith(f"x… ({11_000_000 - 2**20} more)")


def test_large_batch_is_sent_in_parts(sandbox: WandbSandbox) -> None:
    """Lines that are too much for one request go in several, and nothing is missing."""
    run = use(sandbox, lambda connector: connector.start_run({"run_id": "job-1"}))
    lines = tuple(RunLine(time=NOON, text=str(number) * 1_000_000) for number in range(9))
    use(sandbox, lambda connector: connector.log_batch(run, RunBatch(lines=lines)))
    assert (3, [line.text for line in lines]) == (sandbox.count("POST", "file_stream"), sandbox.runs["job-1"].text)


def test_line_that_is_too_long_is_refused(sandbox: WandbSandbox) -> None:
    """W&B would lose it without an error."""
    run = use(sandbox, lambda connector: connector.start_run({"run_id": "job-1"}))
    with pytest.raises(InvalidConfig, match="longer than W&B keeps"):
        use(sandbox, lambda connector: connector.log_text(run, "x" * 11_000_000))


def test_stop_button_is_heard(sandbox: WandbSandbox) -> None:
    """Whoever presses Stop is heard by the next piece, and by whoever asks."""
    run = use(sandbox, lambda connector: connector.start_run({"run_id": "job-1"}))
    heard = [use(sandbox, lambda connector: connector.is_stop_requested(run))]
    sandbox.stop_run("job-1")
    heard.append(use(sandbox, lambda connector: connector.log_batch(run, batch(0, 1))))
    heard.append(use(sandbox, lambda connector: connector.is_stop_requested(run)))
    assert [False, True, True] == heard


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder with files in it."""
    folder = tmp_path / "my adapter"
    (folder / "deep").mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 4096)
    (folder / "deep" / "notes.md").write_text("Grüße")
    return folder


def test_artifact_comes_back_as_it_was(sandbox: WandbSandbox, adapter: Path, tmp_path: Path) -> None:
    """A folder is kept by the run that wrote it, and comes back whole: by its path, an alias, or its run."""
    run = use(sandbox, lambda connector: connector.start_run({"run_id": "job-1"}))
    metadata = {"run_id": run, "aliases": ["best"], "rank": 8}
    path = use(sandbox, lambda connector: connector.upload_artifact(str(adapter), metadata))
    assert "jo/peft-studio/my-adapter:v0" == path
    for number, known in enumerate((path, "jo/peft-studio/my-adapter:best", run)):
        home = tmp_path / f"home-{number}"
        assert home == use(sandbox, bringing(known, home))
        assert (adapter / "adapter_model.safetensors").read_bytes() == (home / "adapter_model.safetensors").read_bytes()
        assert "Grüße" == (home / "deep" / "notes.md").read_text()


def test_same_content_is_stored_once(sandbox: WandbSandbox, adapter: Path) -> None:
    """The same folder again is the same version; of a changed one only what has changed is sent."""

    def upload() -> Any:
        return use(sandbox, lambda connector: connector.upload_artifact(str(adapter), {"name": "a"}))

    versions = [upload(), upload()]
    stored = set(sandbox.storage.blobs)
    (adapter / "deep" / "notes.md").write_text("changed")
    versions.append(upload())
    assert ["jo/peft-studio/a:v0", "jo/peft-studio/a:v0", "jo/peft-studio/a:v1"] == versions
    assert 1 == len([key for key in set(sandbox.storage.blobs) - stored if key.startswith("artifacts/")])


def test_upload_that_was_cut_off_goes_on(sandbox: WandbSandbox, adapter: Path) -> None:
    """The same upload again goes on with the version that was begun."""
    sandbox.stores_at_own_address = True
    sandbox.faults.add("reset_before", times=None, path="/storage/")
    with pytest.raises(ConnectionFailed):
        use(sandbox, lambda connector: connector.upload_artifact(str(adapter), {"name": "a"}))
    sandbox.faults.clear()
    path = use(sandbox, lambda connector: connector.upload_artifact(str(adapter), {"name": "a"}))
    assert ("jo/peft-studio/a:v0", 1) == (path, len(sandbox.artifacts.all))


def test_version_that_was_deleted_is_uploaded_anew(sandbox: WandbSandbox, adapter: Path) -> None:
    """What was deleted over there may be kept again."""

    def upload() -> Any:
        return use(sandbox, lambda connector: connector.upload_artifact(str(adapter), {"name": "a"}))

    upload()
    sandbox.artifacts.all[0].state = "DELETED"
    assert "jo/peft-studio/a:v1" == upload()


def test_damaged_file_is_refused(sandbox: WandbSandbox, adapter: Path, tmp_path: Path) -> None:
    """A file whose md5 is another one than the manifest's does not come home."""
    path = use(sandbox, lambda connector: connector.upload_artifact(str(adapter), {"name": "a"}))
    blob = max(sandbox.storage.blobs.values(), key=lambda blob: blob.size)
    blob.path.write_bytes(b"x" * blob.size)
    with pytest.raises(PlatformError, match="damaged"):
        use(sandbox, lambda connector: connector.download_version(path, tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_files_of_another_version_do_not_come_along(sandbox: WandbSandbox, adapter: Path, tmp_path: Path) -> None:
    """What arrived before a download was broken off is of no use to that of another version."""
    path = use(sandbox, lambda connector: connector.upload_artifact(str(adapter), {"name": "a"}))
    small = min(sandbox.storage.blobs.values(), key=lambda blob: blob.size)
    small.path.write_bytes(b"x" * small.size)
    with pytest.raises(PlatformError, match="damaged"):
        use(sandbox, lambda connector: connector.download_version(path, tmp_path / "home"))
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(b"weights")
    (adapter / "deep" / "notes.md").write_text("changed")
    other = use(sandbox, lambda connector: connector.upload_artifact(str(adapter), {"name": "a"}))
    home = use(sandbox, bringing(other, tmp_path / "home"))
    assert {"adapter_model.bin", "notes.md"} == {each.name for each in home.rglob("*") if each.is_file()}


def test_what_is_not_there_is_told(sandbox: WandbSandbox, tmp_path: Path) -> None:
    """Unknown runs and artifacts have errors of their own."""
    with pytest.raises(ArtifactNotFound):
        use(sandbox, lambda connector: connector.download_version("jo/nothing/a:v1", tmp_path / "home"))
    with pytest.raises(JobNotFound):
        use(sandbox, lambda connector: connector.log_batch("jo/nothing/a", batch(0, 1)))
    with pytest.raises(JobNotFound):
        use(sandbox, lambda connector: connector.finish_run("jo/nothing/a", JobStatus.COMPLETED))


@pytest.mark.parametrize("name", ["", " a", "a/b", "a:b", "x" * 65])
def test_bad_names_are_refused_here(sandbox: WandbSandbox, name: str) -> None:
    """A project or run that W&B would not take is refused in a sentence, before anything is asked."""
    if name:
        with pytest.raises(InvalidConfig, match="cannot be the id of a run"):
            use(sandbox, lambda connector: connector.start_run({"run_id": name}))
    with pytest.raises(InvalidConfig, match="cannot be a project"):
        use(sandbox, lambda connector: connector.verify_connection(), project="a/b")
