"""Every compliance check against the connector, on the sandbox that it brings."""

from __future__ import annotations

from peft_studio_runpod.connector import RunpodConnector
from peft_studio_testkit import ConnectorSuite


class TestRunpod(ConnectorSuite):
    """RunPod's pods: rented, fed, watched, and ended."""

    connector = RunpodConnector
