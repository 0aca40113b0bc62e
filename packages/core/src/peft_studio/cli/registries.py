"""Registries on the command line: which connectors are some, and addresses of models in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from peft_studio.errors import InvalidConfig
from peft_studio.model_address import ModelAddress
from peft_studio.registry import ConnectorRegistry

if TYPE_CHECKING:
    from peft_studio.records import ConnectorRecord

_REMEDY = "list those that do: peft-studio connectors list --feature registry"


def registry_names() -> list[str]:
    """Usable connectors that keep models. Imports none of them. Raises `InvalidConfig` when there is none."""
    found = [record.name for record in ConnectorRegistry().by_feature("registry") if record.is_usable]
    if not found:
        raise InvalidConfig("no installed connector keeps models", remedy="pip install peft-studio-huggingface")
    return found


def address_of(text: str) -> ModelAddress:
    """Read an address. Raises `InvalidConfig` unless its connector keeps models."""
    address = ModelAddress.parse(text)
    require_registry(address.connector)
    return address


def require_registry(name: str) -> ConnectorRecord:
    """Raise `InvalidConfig` for a connector that says of itself that it keeps no models."""
    record = ConnectorRegistry().describe(name)
    if record.manifest is not None and not record.manifest.features.registry:
        raise InvalidConfig(f"{name} keeps no models", remedy=_REMEDY)
    return record


def complete_address(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Beginnings of addresses for the shell's completion."""
    names = [record.name for record in ConnectorRegistry().by_feature("registry")]
    return [f"{name}:" for name in names if name.startswith(incomplete)]
