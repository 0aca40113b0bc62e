"""Find the base model: a local folder, a GGUF file, or a model of the Hugging Face hub.

What is on this machine is never looked up online. Weights are safetensors only, and no code of a model is ever run.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from peft_studio.errors import ConnectionFailed, InvalidConfig
from peft_studio.paths import cache_dir
from peft_studio_worker.training import gguf
from peft_studio_worker.training.reporting import Report

_HUB_FILES: Final = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "README.md", "LICENSE*"]


@frozen
class BaseModel:
    """A model folder on this machine. `name` means the same on other machines, as far as there is such a name."""

    folder: Path
    name: str
    source: str
    #: Commit of the hub, if it came from there.
    revision: str | None = None

    @property
    def fingerprint(self) -> str:
        """sha256 over the config and the headers of the weights: the same for every copy of the folder."""
        digest = hashlib.sha256((self.folder / "config.json").read_bytes())
        for shard in _shards(self.folder):
            with shard.open("rb") as content:
                length = int.from_bytes(content.read(8), "little")
                digest.update(content.read(length))
        return digest.hexdigest()


def remember(base: BaseModel) -> None:
    """Note where the model lies, so that whoever has an adapter made on it finds it without a path in the adapter."""
    note = _note(base.fingerprint)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(str(base.folder), encoding="utf-8")


def recall(fingerprint: str) -> Path | None:
    """The folder of a model that was used on this machine, if it is still the same."""
    note = _note(fingerprint)
    if not note.is_file():
        return None
    folder = Path(note.read_text(encoding="utf-8"))
    is_same = (folder / "config.json").is_file() and BaseModel(folder, "", "local").fingerprint == fingerprint
    return folder if is_same else None


def _note(fingerprint: str) -> Path:
    return cache_dir() / "base-models" / fingerprint


def locate(name: str, source: str, report: Report) -> BaseModel:
    """The model that `base_model` and `model_source` mean. Raises `InvalidConfig` when it cannot be trained."""
    path = Path(name).expanduser()
    if source == "gguf" or (source == "auto" and path.suffix.lower() == ".gguf"):
        if not path.is_file():
            raise InvalidConfig(f"base_model {name} is not a file", remedy="give the path of a .gguf file")
        folder = gguf.model_folder(path, cache_dir(), report)
        return BaseModel(folder, path.stem, "gguf")
    if source == "local" or (source == "auto" and (path.exists() or _looks_like_path(name))):
        check_folder(path)
        return BaseModel(path.absolute(), _portable_name(path), "local")
    return _from_hub(name, report)


def check_folder(path: Path) -> None:
    """Raise `InvalidConfig` unless `path` is a model folder with whole safetensors weights."""
    if not path.is_dir():
        raise InvalidConfig(f"base_model {path} is not a folder", remedy="give a model folder or a .gguf file")
    if (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
        raise InvalidConfig(f"base_model {path} is an adapter", remedy="give the model that it was trained on")
    if not (path / "config.json").is_file():
        hint = "give the path of the .gguf file in it" if any(path.glob("*.gguf")) else "check base_model"
        raise InvalidConfig(f"base_model {path} is not a model folder", why="it has no config.json", remedy=hint)
    shards = _shards(path)
    if not shards:
        raise InvalidConfig(f"base_model {path} has no weights", why=_what_instead(path), remedy="check base_model")
    for shard in shards:
        _check_shard(shard)


def _shards(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        document = json.loads(index.read_text(encoding="utf-8"))
        return sorted({folder / name for name in document["weight_map"].values()})
    single = folder / "model.safetensors"
    return [single] if single.is_file() else []


def _what_instead(folder: Path) -> str:
    pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickled:
        return f"{pickled[0]} is a pickle, which is never loaded; convert it to safetensors"
    return "there is no model.safetensors in it"


def _check_shard(shard: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if not shard.is_file():
        raise InvalidConfig(f"base_model {shard.parent} is not whole", why=f"{shard.name} is missing")
    try:
        with safe_open(shard, framework="pt"):  # reads the header and compares it with the size of the file
            return
    except SafetensorError as error:
        raise InvalidConfig(f"base_model {shard.parent} is damaged", why=f"{shard.name}: {error}") from error


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1


def _portable_name(folder: Path) -> str:
    """The hub's name where the folder tells it (cache of the hub, config.json), else the folder's own name."""
    for part in folder.absolute().parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/", 1)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    told = config.get("_name_or_path")
    if isinstance(told, str) and told.count("/") == 1 and not _looks_like_path(told):
        return told
    return folder.absolute().name


def _from_hub(name: str, report: Report) -> BaseModel:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        try:
            folder = snapshot_download(name, local_files_only=True)
            check_folder(Path(folder))
        except (LocalEntryNotFoundError, InvalidConfig):  # not here, or not all of it
            report("phase", name="loading_model", detail=f"downloading {name} from the Hugging Face hub")
            folder = snapshot_download(name, allow_patterns=_HUB_FILES)
    except HFValidationError as error:
        raise InvalidConfig(
            f"base_model {name} is neither a folder nor a file, nor a name of the Hugging Face hub"
        ) from error
    except LocalEntryNotFoundError as error:
        raise ConnectionFailed(
            f"base_model {name} is not on this machine, and the Hugging Face hub cannot be reached",
            remedy="give a local folder or a .gguf file, or connect to the internet",
        ) from error
    except HfHubHTTPError as error:
        raise InvalidConfig(f"base_model {name} cannot be downloaded", why=str(error).splitlines()[0]) from error
    except OSError as error:
        raise ConnectionFailed(f"base_model {name} cannot be downloaded", why=str(error)) from error
    check_folder(Path(folder))
    return BaseModel(Path(folder), name, "huggingface", revision=Path(folder).name)
