"""The adapter comes home whole, verified, without filling the memory; or there is an error and no folder."""

from __future__ import annotations

import asyncio
import io
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft_studio import ArtifactNotFound, ConnectionFailed, InvalidConfig, JobNotFound, JobStatus, PeftStudioError
from peft_studio.session import Session
from peft_studio_testkit.compliance.check import CheckFailed, group
from peft_studio_testkit.compliance.checks.submission import submit
from peft_studio_testkit.compliance.expect import equal, expect, outcome, refused, shown
from peft_studio_testkit.compliance.memory import growth_of
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, feature="training")

#: A folder whose main file is large enough to be cut in the middle.
FILES = {"adapter_config.json": b'{"peft_type": "LORA"}', "adapter_model.safetensors": bytes(range(256)) * 1024}
_MIB = 1024 * 1024


@contextmanager
def folder() -> Iterator[Path]:
    """A folder to download into, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="peft-studio-check-") as path:
        yield Path(path)


def contents(path: Path) -> dict[str, bytes]:
    """Every file under `path` by its name."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


async def finished(subject: Subject, session: Session, **script: Any) -> str:
    """The id of a job that is done."""
    if script:
        subject.sandbox.script(**script)
    id = await submit(subject, session)
    await asyncio.to_thread(subject.sandbox.advance_until, id, JobStatus.COMPLETED)
    return id


def small(subject: Subject) -> dict[str, Any]:
    """The script of a job with two files, where a job can be told how to go."""
    return {"files": FILES} if subject.is_remote else {}


def truth(subject: Subject, id: str) -> dict[str, bytes]:
    """The artifact as the platform has it."""
    return {name: bytes(data) for name, data in subject.sandbox.jobs[id].files.items()}


def same_files(expected: dict[str, bytes], path: Path) -> None:
    """Fail unless the folder holds these files, byte by byte; a manifest.json may be added."""
    found = contents(path)
    missing = sorted(set(expected) - set(found))
    expect(not missing, f"{', '.join(missing)} did not arrive; there are {', '.join(sorted(found)) or 'no files'}")
    surplus = sorted(set(found) - set(expected) - {"manifest.json"})
    expect(not surplus, f"{', '.join(surplus)} is more than the platform has")
    wrong = sorted(name for name in expected if expected[name] != found[name])
    expect(not wrong, f"{', '.join(wrong)} arrived with other bytes")


def main_file(subject: Subject) -> str:
    """Paths that serve the large file, not the small ones that describe it."""
    return rf"^(?!.*\.json$).*{subject.http.file_download}"


def tear(subject: Subject) -> None:
    """Cut the next download in the middle, and let none of it go on."""
    half = len(FILES["adapter_model.safetensors"]) // 2
    subject.http.faults.add("drop_after", path=main_file(subject), times=1, bytes=half)
    subject.http.faults.add("reset_before", path=main_file(subject), times=None)


@check(offers=("download_artifact",))
async def artifact_arrives(subject: Subject) -> None:
    """download_artifact brings every file as the platform has it, and answers the folder."""
    with folder() as place:
        async with subject.connected() as session:
            id = await finished(subject, session)
            answer = await session.call("download_artifact", job_id=id, destination=place / "adapter")
        same_files(truth(subject, id), place / "adapter")
        equal(place / "adapter", Path(answer), "the answer of download_artifact")


@check(offers=("download_artifact",))
async def nothing_else_is_left(subject: Subject) -> None:
    """Beside the finished folder nothing remains: no half file, no other name."""
    with folder() as place:
        async with subject.connected() as session:
            id = await finished(subject, session)
            await session.call("download_artifact", job_id=id, destination=place / "adapter")
        equal(["adapter"], sorted(path.name for path in place.iterdir()), "what is in the folder above")


@check(offers=("download_artifact",))
async def missing_folders_are_made(subject: Subject) -> None:
    """download_artifact makes the folders that lead to its destination; an empty destination is fine too."""
    with folder() as place:
        (place / "empty").mkdir()
        async with subject.connected() as session:
            id = await finished(subject, session, **small(subject))
            for destination in (place / "a" / "b" / "adapter", place / "empty"):
                await session.call("download_artifact", job_id=id, destination=destination)
                same_files(truth(subject, id), destination)


@check(offers=("download_artifact",))
async def full_folder_is_left_alone(subject: Subject) -> None:
    """A destination that holds something is refused with InvalidConfig, and stays as it is."""
    with folder() as place:
        (place / "mine.txt").write_text("mine")
        async with subject.connected() as session:
            id = await finished(subject, session)
            call = session.call("download_artifact", job_id=id, destination=place)
            await refused(call, InvalidConfig, "download_artifact into a folder that is not empty")
        equal({"mine.txt": b"mine"}, contents(place), "the folder afterwards")


@check(offers=("download_artifact",))
async def running_job_has_no_artifact(subject: Subject) -> None:
    """While the job runs download_artifact raises ArtifactNotFound and makes nothing."""
    subject.sandbox.script(running_seconds=1000)
    with folder() as place:
        async with subject.connected() as session:
            id = await submit(subject, session)
            subject.sandbox.advance_until(id, JobStatus.RUNNING)
            call = session.call("download_artifact", job_id=id, destination=place / "adapter")
            await refused(call, ArtifactNotFound, "download_artifact of a running job")
            await session.call("cancel_job", job_id=id)
        expect(not (place / "adapter").exists(), "a folder was made all the same")


@check(offers=("download_artifact",))
async def unknown_job_has_no_artifact(subject: Subject) -> None:
    """download_artifact of a job that the platform does not know raises JobNotFound or ArtifactNotFound."""
    with folder() as place:
        async with subject.connected() as session:
            call = session.call("download_artifact", job_id="no-such-job", destination=place / "adapter")
            await refused(call, (JobNotFound, ArtifactNotFound), "download_artifact of an unknown job")


@check()
async def artifact_as_bytes(subject: Subject) -> None:
    """fetch_artifact gives the adapter as bytes; beside download_artifact it is a tar archive of the same files."""
    async with subject.connected() as session:
        id = await finished(subject, session, **small(subject))
        files = truth(subject, id)
        data = await session.ask("fetch_artifact", bytes, job_id=id)
    expect(data, "fetch_artifact answered no bytes")
    if subject.has("download_artifact"):
        names = _names_in(data)
        expect(set(files) <= names, f"the archive holds {', '.join(sorted(names)) or 'nothing'}")


def _names_in(archive: bytes) -> set[str]:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as file:
            return set(file.getnames())
    except tarfile.TarError as error:
        raise CheckFailed(f"fetch_artifact answered {shown(archive, 40)}, which is no tar archive") from error


@check()
async def missing_bytes_are_an_error(subject: Subject) -> None:
    """fetch_artifact of an unknown job raises an error of ours; no bytes are not an adapter."""
    async with subject.connected() as session:
        call = session.call("fetch_artifact", job_id="no-such-job")
        await refused(call, (JobNotFound, ArtifactNotFound), "fetch_artifact of an unknown job")


@check(offers=("download_artifact",), network=True)
async def cut_download_goes_on(subject: Subject) -> None:
    """A download that is cut goes on where it was, by a range; it does not begin again."""
    with folder() as place:
        async with subject.connected() as session:
            id = await finished(subject, session, files=FILES)
            half = len(FILES["adapter_model.safetensors"]) // 2
            subject.http.faults.add("drop_after", path=main_file(subject), times=1, bytes=half)
            await session.call("download_artifact", job_id=id, destination=place / "adapter")
        same_files(FILES, place / "adapter")
    ranges = [request.headers["range"] for request in subject.http.requests if "range" in request.headers]
    begun = [each for each in ranges if not each.startswith("bytes=0-")]
    expect(begun, f"after the cut no range was asked for (range headers: {shown(ranges)})")


@check(offers=("download_artifact",), network=True)
async def torn_download_is_no_folder(subject: Subject) -> None:
    """A download that cannot be finished raises ConnectionFailed, and there is no folder of the final name."""
    with folder() as place:
        async with subject.connected() as session:
            id = await finished(subject, session, files=FILES)
            tear(subject)
            call = session.call("download_artifact", job_id=id, destination=place / "adapter")
            await refused(call, ConnectionFailed, "a download that is cut, and then refused")
            subject.http.faults.clear()
        expect(not (place / "adapter").exists(), "a torn folder stands under the final name")


@check(offers=("download_artifact",), network=True)
async def torn_download_can_be_repeated(subject: Subject) -> None:
    """After a download that failed the same call succeeds."""
    with folder() as place:
        async with subject.connected() as session:
            id = await finished(subject, session, files=FILES)
            subject.http.faults.add("status", path=subject.http.file_download, code=503, body="", times=None)
            call = session.call("download_artifact", job_id=id, destination=place / "adapter")
            await refused(call, ConnectionFailed, "a download that the platform refuses")
            subject.http.faults.clear()
            await session.call("download_artifact", job_id=id, destination=place / "adapter")
        same_files(FILES, place / "adapter")


@check(offers=("download_artifact",), network=True)
async def corrupt_byte_is_noticed(subject: Subject) -> None:
    """One byte that differs from what the platform's checksum says is an error, and there is no folder."""
    with folder() as place:
        async with subject.connected() as session:
            id = await finished(subject, session, files=FILES)
            subject.http.faults.add("corrupt", path=subject.http.file_download, times=None)
            call = session.call("download_artifact", job_id=id, destination=place / "adapter")
            await refused(call, PeftStudioError, "a download with a corrupt byte")
            subject.http.faults.clear()
        expect(not (place / "adapter").exists(), "a corrupt folder stands under the final name")


@check(offers=("download_artifact",), network=True)
async def short_download_is_noticed(subject: Subject) -> None:
    """A file that ends early, though the answer looks whole, is an error, and there is no folder."""
    with folder() as place:
        async with subject.connected() as session:
            id = await finished(subject, session, files=FILES)
            subject.http.faults.add("empty", path=subject.http.file_download, times=None)
            call = session.call("download_artifact", job_id=id, destination=place / "adapter")
            await refused(call, PeftStudioError, "a download of which nothing came")
            subject.http.faults.clear()
        expect(not (place / "adapter").exists(), "a torn folder stands under the final name")


@check(offers=("download_artifact",), network=True)
async def names_stay_in_the_folder(subject: Subject) -> None:
    """A file name that leads out of the folder writes nothing there, whatever the platform says."""
    with folder() as place:
        async with subject.connected() as session:
            id = await finished(subject, session, files=FILES)
            subject.http.faults.add("alias", old="adapter_config.json", new="../escaped.txt", times=None)
            call = session.call("download_artifact", job_id=id, destination=place / "deep" / "adapter")
            answer = await outcome(call)
        expect(not list(place.rglob("escaped.txt")), "the file ../escaped.txt was written outside of the folder")
        if not isinstance(answer, PeftStudioError):  # names do not come as JSON, so that none was changed
            same_files(FILES, place / "deep" / "adapter")


@check(offers=("download_artifact",), network=True)
async def names_keep_unicode(subject: Subject) -> None:
    """File names with blanks, letters of any script, and folders arrive as they are."""
    files = {**FILES, "Prüfung 1%.txt": b"a", "checkpoint/世界.json": b"{}"}
    with folder() as place:
        async with subject.connected() as session:
            id = await finished(subject, session, files=files)
            await session.call("download_artifact", job_id=id, destination=place / "adapter")
        same_files(files, place / "adapter")


@check(offers=("download_artifact",), network=True)
async def memory_is_bounded(subject: Subject) -> None:
    """An artifact of 32 MiB is written to the disk as it comes: memory grows by less than 16 MiB."""
    big = {"adapter_model.safetensors": bytes(32 * _MIB)}
    with folder() as place:
        async with subject.connected() as session:
            id = await finished(subject, session, files=big)
        growth = await growth_of(subject, "download_artifact", job_id=id, destination=place / "adapter")
        arrived = (place / "adapter" / "adapter_model.safetensors").stat().st_size
    equal(32 * _MIB, arrived, "the size of the file that arrived")
    expect(growth < 16, f"memory grew by {growth:.0f} MiB during a download of 32 MiB")
