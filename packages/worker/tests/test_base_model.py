"""Finding the base model, and what is no base model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from peft_studio.errors import ConnectionFailed, InvalidConfig, NotEnoughMemory
from peft_studio_worker.training import base_model
from peft_studio_worker.training.model_card import Licence


def nothing(kind: str, /, **fields: object) -> None:
    """A report that nobody reads."""


def refusal(name: str | Path, source: str = "auto") -> str:
    """The sentence for a model that cannot be used."""
    with pytest.raises(InvalidConfig) as caught:
        base_model.locate(str(name), source, nothing)
    return str(caught.value).replace(str(name), "MODEL")


def test_a_local_folder(tiny_model) -> None:
    """A folder is used where it is; its name is no path of this machine."""
    found = base_model.locate(str(tiny_model), "auto", nothing)

    assert (tiny_model, "tiny-llama", "local") == (found.folder, found.name, found.source)


def test_a_folder_of_the_hubs_cache_keeps_the_hubs_name(tiny_model, tmp_path) -> None:
    """Its path tells the name that others know it by."""
    folder = tmp_path / "models--acme--tiny" / "snapshots" / "abc"
    shutil.copytree(tiny_model, folder)

    assert base_model.locate(str(folder), "auto", nothing).name == "acme/tiny"


def test_the_fingerprint_is_that_of_the_content(tiny_model, tmp_path, make_model) -> None:
    """A copy elsewhere has the same one, another model has another."""
    copy = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    other = make_model(tmp_path / "other", num_hidden_layers=1)

    prints = [base_model.locate(str(path), "auto", nothing).fingerprint for path in (tiny_model, copy, other)]

    assert prints[0] == prints[1] != prints[2]


def test_a_model_is_found_again_by_its_fingerprint(tiny_model, tmp_path) -> None:
    """As long as it lies where it was and is what it was."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "here"))
    found = base_model.locate(str(folder), "auto", nothing)
    fingerprint = found.fingerprint
    base_model.remember(found)

    assert folder == base_model.recall(fingerprint)
    shutil.rmtree(folder)
    assert base_model.recall(fingerprint) is None


def test_missing_folder() -> None:
    """A path that leads nowhere is not looked for on the hub."""
    assert refusal("./no/such/model") == "base_model no/such/model is not a folder"
    assert refusal("/no/such/model") == "base_model MODEL is not a folder"


def test_missing_gguf() -> None:
    """A .gguf path that leads nowhere is told."""
    assert refusal("/no/such/model.gguf") == "base_model MODEL is not a file"


def test_not_a_gguf_file(tmp_path) -> None:
    """The first bytes decide, not the name."""
    (tmp_path / "m.gguf").write_bytes(b"GGML and more")

    assert refusal(tmp_path / "m.gguf") == "MODEL is not a GGUF file"


def test_a_torn_gguf_file(tmp_path) -> None:
    """A file that begins like one and ends too early is one sentence."""
    (tmp_path / "m.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")

    assert refusal(tmp_path / "m.gguf").startswith("MODEL cannot be read: ")


def test_a_folder_that_is_no_model(tmp_path) -> None:
    """Without config.json it is none; a GGUF file inside is pointed at."""
    assert refusal(tmp_path) == "base_model MODEL is not a model folder: it has no config.json"

    (tmp_path / "m.gguf").touch()
    with pytest.raises(InvalidConfig) as caught:
        base_model.locate(str(tmp_path), "auto", nothing)
    assert caught.value.remedy == "give the path of the .gguf file in it"


def test_an_adapter_is_no_base_model(tmp_path) -> None:
    """The folder of an adapter is recognised."""
    (tmp_path / "adapter_config.json").write_text("{}")

    assert refusal(tmp_path) == "base_model MODEL is an adapter"


def test_a_folder_without_weights(tiny_model, tmp_path) -> None:
    """config.json alone is not enough; pickled weights are named and not loaded."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "m"))
    (folder / "model.safetensors").unlink()
    assert refusal(folder) == "base_model MODEL has no weights: there is no model.safetensors in it"

    (folder / "pytorch_model.bin").touch()
    assert "pytorch_model.bin is a pickle, which is never loaded" in refusal(folder)


def test_damaged_weights(tiny_model, tmp_path) -> None:
    """A file that was cut off is found before anything is loaded."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "m"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])

    assert refusal(folder).startswith("base_model MODEL is damaged: model.safetensors: ")


def test_a_missing_shard(tiny_model, tmp_path) -> None:
    """Every file that the index names must be there."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "m"))
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    assert refusal(folder) == "base_model MODEL is not whole: model-2.safetensors is missing"


def test_the_hub_cannot_be_reached() -> None:
    """Offline, a model that is not here is told as such; it is not a bad config."""
    with pytest.raises(ConnectionFailed, match="base_model acme/tiny is not on this machine, and the Hugging Face hub"):
        base_model.locate("acme/tiny", "auto", nothing)


def test_a_name_that_cannot_be_one() -> None:
    """What is neither a path nor a name of the hub."""
    assert "is neither a folder nor a file, nor a name of the Hugging Face hub" in refusal("a b")


def test_not_a_language_model(tiny_model, tmp_path, make_job, train) -> None:
    """A model of another kind is refused before it is loaded."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "m"))
    settings = json.loads((folder / "config.json").read_text()) | {"model_type": "vit", "architectures": ["ViTModel"]}
    (folder / "config.json").write_text(json.dumps(settings))

    with pytest.raises(InvalidConfig, match="is not a causal language model"):
        train(make_job(base_model=str(folder)))


def test_code_of_a_model_is_never_run(tiny_model, tmp_path, make_job, train) -> None:
    """A model that brings its own code is refused, and the code does not run."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "m"))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'proof')!r}, 'w')\n")
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(settings))

    with pytest.raises(InvalidConfig):
        train(make_job(base_model=str(folder)))

    assert not (tmp_path / "proof").exists()


def test_a_model_that_cannot_fit_is_refused_before_it_is_loaded(tiny_model, tmp_path, make_job, train) -> None:
    """The estimate needs config.json alone: the weights here are those of the tiny model."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "m"))
    giant = {"hidden_size": 32768, "intermediate_size": 131072, "num_hidden_layers": 100, "head_dim": 8192}
    settings = json.loads((folder / "config.json").read_text()) | giant
    (folder / "config.json").write_text(json.dumps(settings))

    with pytest.raises(
        NotEnoughMemory, match=r"the job needs about \d+\.\d GiB of memory, and \d+\.\d GiB are"
    ) as caught:
        train(make_job(base_model=str(folder)))

    assert caught.value.remedy


@pytest.mark.parametrize(
    ("files", "identifier", "file"),
    [
        ({"README.md": "---\nlicense: apache-2.0\n---\nhello"}, "apache-2.0", None),
        ({"README.md": "no header", "LICENSE.txt": "..."}, None, "LICENSE.txt"),
        ({"README.md": "---\n: : :\n---\n"}, None, None),
        ({}, None, None),
    ],
)
def test_the_licence_is_inherited_never_guessed(files, identifier, file, tmp_path) -> None:
    """What the base model's files state, the file that has the text, or unknown."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert Licence(identifier, file) == Licence.of(tmp_path)
    assert ("Unknown" in Licence.of(tmp_path).sentence) is (not identifier and not file)
