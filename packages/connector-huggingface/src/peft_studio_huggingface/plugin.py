"""The hooks. This module is imported by name alone, so it imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peft_studio import hookimpl

if TYPE_CHECKING:
    from peft_studio_huggingface.connector import HuggingFaceConnector


@hookimpl
def peft_studio_connector() -> type[HuggingFaceConnector]:
    """Deliver the connector class."""
    from peft_studio_huggingface.connector import HuggingFaceConnector

    return HuggingFaceConnector
