"""Every compliance check against the connector, on the sandbox that it brings."""

from __future__ import annotations

from peft_studio_testkit import ConnectorSuite
from peft_studio_wandb.connector import WandbConnector


class TestWandb(ConnectorSuite):
    """Runs and artifacts at Weights & Biases."""

    connector = WandbConnector
