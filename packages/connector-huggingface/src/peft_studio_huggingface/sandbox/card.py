"""The YAML at the top of a README: what the Hub knows of a model, and its tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from peft_studio_huggingface.sandbox.problems import Refusal

_BLOCK: Final = re.compile(r"\A---\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)


def card_data(readme: str) -> dict[str, Any]:
    """What stands in the block; nothing without one. Raises `Refusal` for a block that is no YAML mapping."""
    block = _BLOCK.match(readme)
    if block is None:
        return {}
    try:
        data = yaml.safe_load(block[1])
    except yaml.YAMLError as error:
        raise _invalid(f"not valid YAML: {error}") from error
    if not isinstance(data or {}, dict):
        raise _invalid("it must be a mapping")
    return data or {}


def tags(card: Mapping[str, Any], paths: list[str]) -> list[str]:
    """What a search filters by."""
    found = [str(card["library_name"])] if card.get("library_name") else []
    found += ["safetensors"] if any(path.endswith(".safetensors") for path in paths) else []
    found += [*_texts(card.get("tags")), *_texts(card.get("language"))]
    found += [f"dataset:{name}" for name in _texts(card.get("datasets"))]
    relation = card.get("base_model_relation") or ("adapter" if "adapter_config.json" in paths else None)
    for base in _texts(card.get("base_model")):
        found += [f"base_model:{base}", *([f"base_model:{relation}:{base}"] if relation else [])]
    found += [f"license:{name}" for name in _texts(card.get("license"))]
    found += [str(card["pipeline_tag"])] if card.get("pipeline_tag") else []
    return list(dict.fromkeys(found))


def _texts(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value] if value else [])]


def _invalid(why: str) -> Refusal:
    text = f"Invalid metadata in README.md: {why}"
    return Refusal(400, text, errors=[{"message": text}], warnings=[])
