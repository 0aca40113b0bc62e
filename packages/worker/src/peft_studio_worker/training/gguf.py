"""Turn a GGUF file into a model folder, once, and keep it.

transformers reads GGUF, but takes half a minute for what loads in a third of a second from safetensors. The folder is
named after the file's content, so the same file under another name or date is not converted again.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from peft_studio.errors import InvalidConfig
from peft_studio_worker.training.reporting import Report

#: Raised when a conversion would come out differently, so that old folders are not used any more.
_CONVERSION: Final = 1


def model_folder(path: Path, cache: Path, report: Report) -> Path:
    """The folder with the model of the GGUF file `path`, converted now or earlier."""
    folder = cache / f"gguf-{_CONVERSION}-{_digest(path)[:16]}"
    if folder.is_dir():
        return folder
    report("phase", name="converting_model", detail=f"{path.name} is converted once and kept in {folder}")
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=cache))
    try:
        _convert(path, partial)
        partial.rename(folder)
    except OSError as error:
        if folder.is_dir():  # another job has converted it meanwhile
            return folder
        raise InvalidConfig(f"{path} cannot be converted into {folder}", why=error.strerror or str(error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        if content.read(4) != b"GGUF":
            raise InvalidConfig(f"{path} is not a GGUF file", remedy="check base_model")
        content.seek(0)
        return hashlib.file_digest(content, "sha256").hexdigest()


def _convert(path: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        import gguf
    except ImportError as error:
        raise InvalidConfig(
            f"{path} cannot be read", why="the package gguf is not installed", remedy="pip install gguf"
        ) from error
    try:
        fields = gguf.GGUFReader(path).fields
        model: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except (ValueError, KeyError, IndexError, NotImplementedError) as error:
        raise InvalidConfig(f"{path} cannot be read", why=str(error)) from error
    # The weights are plain tensors now; as long as the model calls itself quantised it refuses to be saved.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_card(folder, fields)


def _write_card(folder: Path, fields: dict[str, Any]) -> None:
    """Keep what the file says of its name and licence where a model folder has it."""
    import yaml

    facts = {"license": _text(fields, "general.license"), "model_name": _text(fields, "general.name")}
    header = yaml.safe_dump({key: value for key, value in facts.items() if value})
    (folder / "README.md").write_text(f"---\n{header}---\n\nConverted from a GGUF file.\n", encoding="utf-8")


def _text(fields: dict[str, Any], key: str) -> str | None:
    field = fields.get(key)
    return None if field is None else str(field.contents())
