"""Every compliance check against the connector, on the sandbox that it brings."""

from __future__ import annotations

from peft_studio_huggingface.connector import HuggingFaceConnector
from peft_studio_testkit import ConnectorSuite


class TestHuggingFace(ConnectorSuite):
    """The Hub as a registry."""

    connector = HuggingFaceConnector
