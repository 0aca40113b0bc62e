"""Models and adapters: uploaded whole, found again, brought home verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft_studio import ArtifactNotFound, ConnectionFailed, InvalidConfig, ModelInfo, PeftStudioError, PlatformError
from peft_studio.session import Session
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.checks.artifacts import FILES, contents, folder, main_file, same_files, tear
from peft_studio_testkit.compliance.expect import equal, expect, outcome, raised_by, refused, shown
from peft_studio_testkit.compliance.memory import growth_of
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, feature="registry")

METADATA = {"name": "lighthouse-lora", "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct", "description": "Grüße 世界"}
_MIB = 1024 * 1024


def adapter(place: Path, files: dict[str, bytes] = FILES) -> Path:
    """An adapter folder to upload."""
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


async def _upload(session: Session, path: Path, **metadata: Any) -> str:
    return str(await session.ask("upload_artifact", str, path=str(path), metadata={**METADATA, **metadata}))


@check()
async def upload_answers_the_id(subject: Subject) -> None:
    """upload_artifact answers the id under which the registry knows the model from now on."""
    with folder() as place:
        async with subject.connected() as session:
            id = await _upload(session, adapter(place / "adapter"))
    expect(id in subject.sandbox.models, f"upload_artifact answered {id!r}, which the registry does not know")


@check()
async def upload_is_whole(subject: Subject) -> None:
    """Every file of the folder arrives byte by byte, in folders too; a README.md may be added where there is none."""
    files = {**FILES, "checkpoint/Prüfung 1%.txt": b"a"}
    with folder() as place:
        async with subject.connected() as session:
            id = await _upload(session, adapter(place / "adapter", files))
    stored = {name: bytes(data) for name, data in subject.sandbox.models[id].files.items()}
    equal(sorted(files), sorted(set(stored) - {"README.md"}), "the files in the registry")
    wrong = sorted(name for name in files if files[name] != stored[name])
    expect(not wrong, f"{', '.join(wrong)} arrived with other bytes")


@check()
async def upload_of_one_file(subject: Subject) -> None:
    """A single file can be uploaded too."""
    with folder() as place:
        async with subject.connected() as session:
            id = await _upload(session, adapter(place) / "adapter_config.json")
    equal(["adapter_config.json"], sorted(subject.sandbox.models[id].files), "the files in the registry")


@check()
async def upload_of_nothing(subject: Subject) -> None:
    """A path that does not exist is refused with InvalidConfig that names it; nothing is created."""
    with folder() as place:
        async with subject.connected() as session:
            call = session.call("upload_artifact", path=str(place / "no-such-folder"), metadata=METADATA)
            error = await refused(call, InvalidConfig, "an upload of a folder that does not exist")
    expect("no-such-folder" in str(error), f"the error does not name the path: {error}")
    equal(0, len(subject.sandbox.models), "the number of models in the registry")


@check()
async def metadata_are_kept(subject: Subject) -> None:
    """Name and base model of the metadata are what the registry knows."""
    with folder() as place:
        async with subject.connected() as session:
            id = await _upload(session, adapter(place / "adapter"))
    model = subject.sandbox.models[id]
    equal(METADATA["name"], model.name, "name in the registry")
    equal(METADATA["base_model"], model.base_model, "base_model in the registry")


@check()
async def uploaded_model_is_found(subject: Subject) -> None:
    """What was uploaded is found by its name."""
    with folder() as place:
        async with subject.connected() as session:
            id = await _upload(session, adapter(place / "adapter"))
            found = await session.ask("search_models", list, query="lighthouse")
    equal([id], [model.id for model in found], "the ids that search_models answers")


@check()
async def search_answers_models(subject: Subject) -> None:
    """search_models answers a list of ModelInfo with ids and names."""
    subject.sandbox.models.add("one", base_model="base")
    async with subject.connected() as session:
        answer = await session.call("search_models", query="one")
    expect(
        isinstance(answer, list) and all(isinstance(each, ModelInfo) for each in answer), f"it answered {shown(answer)}"
    )
    equal(["one"], [model.name for model in answer], "the names that search_models answers")


@check()
async def search_finds_nothing(subject: Subject) -> None:
    """A search that nothing matches answers an empty list; so does one with odd letters."""
    subject.sandbox.models.add("one")
    async with subject.connected() as session:
        for query in ("no-such-model", "%&?#/ 世界"):
            equal([], await session.call("search_models", query=query), f"search_models({query!r})")


@check()
async def search_finds_unicode(subject: Subject) -> None:
    """A search for letters of any script finds them."""
    subject.sandbox.models.add("Grüße 世界")
    async with subject.connected() as session:
        found = await session.ask("search_models", list, query="世界")
    equal(["Grüße 世界"], [model.name for model in found], "the names that search_models answers")


@check(network=True)
async def search_reads_every_page(subject: Subject) -> None:
    """What the registry spreads over many pages is one list, each model once."""
    for number in range(250):
        subject.sandbox.models.add(f"model-{number:03}")
    async with subject.connected() as session:
        found = await session.ask("search_models", list, query="model-")
    equal(250, len({model.id for model in found}), "the number of models that are found")
    equal(250, len(found), "the number of answers")


@check(network=True)
async def search_that_breaks_is_an_error(subject: Subject) -> None:
    """When a later page cannot be had search_models raises ConnectionFailed; half a list would pass for all."""
    for number in range(250):
        subject.sandbox.models.add(f"model-{number:03}")
    async with subject.connected() as session:
        method, arguments = "search_models", {"query": "model-"}
        subject.http.faults.add("status", code=503, body="", after=1, times=None)
        await refused(session.call(method, **arguments), ConnectionFailed, "a search that breaks on its second page")


@check()
async def model_is_described(subject: Subject) -> None:
    """get_model_metadata tells the name and the base model."""
    id = subject.sandbox.models.add("one", base_model="base", files=FILES).id
    async with subject.connected() as session:
        info = await session.ask("get_model_metadata", ModelInfo, model_id=id)
    equal((id, "one", "base"), (info.id, info.name, info.base_model), "id, name and base_model")


@check()
async def unknown_model_is_an_error(subject: Subject) -> None:
    """A model that the registry does not know raises ArtifactNotFound or PlatformError."""
    with folder() as place:
        async with subject.connected() as session:
            kinds = (ArtifactNotFound, PlatformError)
            await refused(session.call("get_model_metadata", model_id="nobody/nothing"), kinds, "an unknown model")
            call = session.call("download_model", model_id="nobody/nothing", destination=place / "model")
            await refused(call, kinds, "a download of an unknown model")
        expect(not (place / "model").exists(), "a folder was made all the same")


@check()
async def model_arrives(subject: Subject) -> None:
    """download_model brings every file as the registry has it, and answers the folder."""
    id = subject.sandbox.models.add("one", files=FILES).id
    with folder() as place:
        async with subject.connected() as session:
            answer = await session.call("download_model", model_id=id, destination=place / "model")
        same_files(FILES, place / "model")
        equal(place / "model", Path(answer), "the answer of download_model")


@check()
async def full_model_folder_is_left_alone(subject: Subject) -> None:
    """A destination that holds something is refused with InvalidConfig, and stays as it is."""
    id = subject.sandbox.models.add("one", files=FILES).id
    with folder() as place:
        (place / "mine.txt").write_text("mine")
        async with subject.connected() as session:
            call = session.call("download_model", model_id=id, destination=place)
            await refused(call, InvalidConfig, "download_model into a folder that is not empty")
        equal({"mine.txt": b"mine"}, contents(place), "the folder afterwards")


@check(network=True)
async def torn_model_is_no_folder(subject: Subject) -> None:
    """A download that cannot be finished, or has a corrupt byte, is an error, and there is no folder."""
    id = subject.sandbox.models.add("one", files=FILES).id
    for fault in ("cut", "corrupt"):
        with folder() as place:
            async with subject.connected() as session:
                if fault == "cut":
                    tear(subject)
                else:
                    subject.http.faults.add(fault, path=main_file(subject), times=None)
                call = session.call("download_model", model_id=id, destination=place / "model")
                await raised_by(call, f"download_model with {fault}")
                subject.http.faults.clear()
            expect(not (place / "model").exists(), f"after {fault} a folder stands under the final name")


@check(network=True)
async def model_names_stay_in_the_folder(subject: Subject) -> None:
    """A file name that leads out of the folder writes nothing there, whatever the registry says."""
    id = subject.sandbox.models.add("one", files=FILES).id
    with folder() as place:
        async with subject.connected() as session:
            subject.http.faults.add("alias", old="adapter_config.json", new="../escaped.txt", times=None)
            answer = await outcome(session.call("download_model", model_id=id, destination=place / "deep" / "model"))
        expect(not list(place.rglob("escaped.txt")), "the file ../escaped.txt was written outside of the folder")
        if not isinstance(answer, PeftStudioError):  # names do not come as JSON, so that none was changed
            same_files(FILES, place / "deep" / "model")


@check(network=True)
async def upload_memory_is_bounded(subject: Subject) -> None:
    """A folder of 32 MiB is read from the disk as it is sent: memory grows by less than 16 MiB."""
    with folder() as place:
        path = adapter(place / "adapter", {**FILES, "adapter_model.safetensors": bytes(32 * _MIB)})
        growth = await growth_of(subject, "upload_artifact", path=str(path), metadata=METADATA)
    expect(growth < 16, f"memory grew by {growth:.0f} MiB during an upload of 32 MiB")


@check(network=True)
async def failed_upload_is_an_error(subject: Subject) -> None:
    """An upload that the registry breaks off raises; there is no id of half a model."""
    with folder() as place:
        async with subject.connected() as session:
            subject.http.faults.add(
                "reset_before", method=subject.http.file_upload[0], path=subject.http.file_upload[1], times=None
            )
            call = session.call("upload_artifact", path=str(adapter(place / "adapter")), metadata=METADATA)
            await refused(call, ConnectionFailed, "an upload that is broken off")
            subject.http.faults.clear()
