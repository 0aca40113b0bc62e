"""What would be wrong or indiscreet elsewhere stays at home: changed copies go up, the user's folder stays as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from peft_studio_huggingface.portable import Base, discreet, is_local, public

HOME = Path.home()
HEADER = "---\nbase_model: {}\nlibrary_name: peft\n---\n\n# Mine\n"


def folder(tmp_path, base: str, **record: object) -> Path:
    """An adapter that was made from a model at `base`."""
    adapter = tmp_path / "my-lora"
    adapter.mkdir()
    settings = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": base}
    (adapter / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (adapter / "adapter_model.safetensors").write_bytes(bytes(100))
    if record:
        (adapter / "peft_studio.json").write_text(json.dumps(record), encoding="utf-8")
    return adapter


async def published(connector, sandbox, adapter: Path, **metadata: object) -> dict[str, str]:
    """Every text as it lies on the Hub; nothing has changed here."""
    before = {path: path.read_bytes() for path in adapter.iterdir()}
    id = await connector.upload_artifact(str(adapter), metadata)
    assert before == {path: path.read_bytes() for path in adapter.iterdir()}
    paths = [path for path in sandbox.hub[id].head.files if path.endswith((".json", ".md"))]
    return {path: sandbox.hub.read(id, path).decode() for path in paths}


@pytest.mark.parametrize("place", ["metadata", "record"])
async def test_a_local_base_becomes_its_id(sandbox, connector, tmp_path, place):
    """Whoever tells it: the metadata of the upload, or the record of the training."""
    record = {"base_model": {"name": "acme/tiny", "source": "huggingface"}} if place == "record" else {}
    metadata = {"base_model": "acme/tiny"} if place == "metadata" else {}
    adapter = folder(tmp_path, str(tmp_path / "models/tiny"), **record)
    files = await published(connector, sandbox, adapter, **metadata)
    assert "acme/tiny" == json.loads(files["adapter_config.json"])["base_model_name_or_path"]
    assert 8 == json.loads(files["adapter_config.json"])["r"]
    assert str(tmp_path) not in "".join(files.values())
    assert "acme/tiny" == (await connector.get_model_metadata("me/my-lora")).base_model


async def test_a_base_that_nobody_names_keeps_its_last_part(sandbox, connector, tmp_path):
    """The card warns; the Hub, which knows no such model, is told of none."""
    adapter = folder(tmp_path, str(tmp_path / "models/tiny"))
    files = await published(connector, sandbox, adapter)
    assert "tiny" == json.loads(files["adapter_config.json"])["base_model_name_or_path"]
    assert "nobody said what it is called on the Hub" in files["README.md"]
    assert "base_model:" not in files["README.md"]
    assert str(tmp_path) not in "".join(files.values())


async def test_a_base_that_lay_in_a_folder_is_told_as_such(sandbox, connector, tmp_path):
    """Its bare name may look like one of the Hub; the record knows better, until somebody tells the id."""
    adapter = folder(tmp_path, "tiny", base_model={"name": "tiny", "source": "local"})
    files = await published(connector, sandbox, adapter)
    assert "nobody said what it is called on the Hub" in files["README.md"]
    files = await published(connector, sandbox, adapter, repo_id="me/told", base_model="acme/tiny")
    assert "acme/tiny" == json.loads(files["adapter_config.json"])["base_model_name_or_path"]
    assert "nobody said" not in files["README.md"]


async def test_a_readme_keeps_the_words_of_its_author(sandbox, connector, tmp_path):
    """Also where the adapter does not find its base by itself."""
    adapter = folder(tmp_path, "tiny", base_model={"name": "tiny", "source": "local"})
    (adapter / "README.md").write_text("# Mine\n", encoding="utf-8")
    assert "# Mine\n" == (await published(connector, sandbox, adapter))["README.md"]


@pytest.mark.parametrize("name", ["acme/tiny", "gpt2"])
async def test_a_base_on_the_hub_stays_as_it_is(sandbox, connector, tmp_path, name):
    """To the last byte of the file."""
    adapter = folder(tmp_path, name)
    files = await published(connector, sandbox, adapter)
    assert (adapter / "adapter_config.json").read_text(encoding="utf-8") == files["adapter_config.json"]
    assert "nobody said" not in files["README.md"]


async def test_no_path_of_this_machine_gets_into_card_or_record(sandbox, connector, tmp_path):
    """Neither from the settings of a training, nor from what the metadata say."""
    config = {"rank": 8, "dataset_path": "/data/secret/quotes.jsonl", "output_dir": "C:\\Users\\ann\\out"}
    adapter = folder(tmp_path, "acme/tiny", base_model={"name": "acme/tiny"}, config=config)
    files = await published(
        connector,
        sandbox,
        adapter,
        dataset=str(HOME / "quotes.jsonl"),
        description=f"From {HOME}/notes/a.md, with love",
    )
    assert {"rank": 8, "dataset_path": "quotes.jsonl", "output_dir": "out"} == json.loads(files["peft_studio.json"])[
        "config"
    ]
    for line in ("| dataset_path | quotes.jsonl |", "| output_dir | out |", "* quotes.jsonl", "From a.md, with love"):
        assert line in files["README.md"]
    assert not re.search(rf"secret|ann|{re.escape(str(HOME))}", "".join(files.values()))


@pytest.mark.parametrize(
    ("told", "header"), [("acme/tiny", "base_model: acme/tiny\n"), (None, "---\nlibrary_name: peft\n")]
)
async def test_a_readme_of_peft_is_cut_where_it_names_a_folder(sandbox, connector, tmp_path, told, header):
    """The Hub refuses a header with a path; everything else is its author's."""
    base = f"{tmp_path}/models/tiny"
    adapter = folder(tmp_path, base)
    kept = "ask at https://x.example/home/me and `POST /v1/chat/completions`."
    words = HEADER.format(base) + f"\nLogs: {HOME}/runs/log.txt. From {base}; {kept}\n"
    (adapter / "README.md").write_text(words, encoding="utf-8")
    files = await published(connector, sandbox, adapter, **({"base_model": told} if told else {}))
    assert header in files["README.md"]
    assert "Logs: log.txt. From" in files["README.md"]
    shown = told or "tiny"
    assert f"From {shown}; {kept}" in files["README.md"]


async def test_one_file_is_cut_as_well(sandbox, connector, tmp_path):
    """An upload of `adapter_config.json` alone."""
    adapter = folder(tmp_path, f"{tmp_path}/models/tiny")
    await connector.upload_artifact(str(adapter / "adapter_config.json"), {"repo_id": "me/one", "base_model": "a/b"})
    assert "a/b" == json.loads(sandbox.hub.read("me/one", "adapter_config.json"))["base_model_name_or_path"]


async def test_the_same_again_makes_no_commit(sandbox, connector, tmp_path):
    """A changed copy is compared with what is there, not the file of this machine."""
    adapter = folder(tmp_path, f"{tmp_path}/models/tiny")
    await connector.upload_artifact(str(adapter), {})
    head = sandbox.hub["me/my-lora"].head.id
    await connector.upload_artifact(str(adapter), {})
    assert head == sandbox.hub["me/my-lora"].head.id


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/ann/data.jsonl", "data.jsonl"),
        ("file:///home/ann/data", "data"),
        ("~/data.jsonl", "data.jsonl"),
        ("../data.jsonl", "data.jsonl"),
        ("D:\\data", "data"),
        ("\\\\server\\share\\data", "data"),
        (["/a/b", "q_proj"], ["b", "q_proj"]),
        ({"best_model_checkpoint": "/out/run/checkpoint-7"}, {"best_model_checkpoint": "checkpoint-7"}),
        ("acme/tiny", "acme/tiny"),
        ("https://huggingface.co/acme/tiny", "https://huggingface.co/acme/tiny"),
        ("/", "/"),
        ("</s>", "</s>"),
        ("{% if x %}\n/a/b", "{% if x %}\n/a/b"),
        (0.5, 0.5),
    ],
)
def test_of_a_place_its_last_part_is_left(value, shown):
    """What is no place stays."""
    assert shown == public(value)


def test_words_lose_this_machines_folders_alone():
    """A path that means the same everywhere is not touched."""
    assert "out.txt, /v1/models and /data/x" == discreet(f"{HOME}/a/out.txt, /v1/models and /data/x")


def test_a_base_of_another_source_is_not_on_the_hub():
    """What the record names may look like an id."""
    record = {"base_model": {"name": "models/tiny", "source": "folder"}}
    base = Base.of({}, record, {"base_model_name_or_path": "models/tiny"})
    assert ("tiny", False) == (base.name, base.is_on_hub)
    assert not is_local("models/tiny")
