"""The local connector keeps to the interface: every check of the testkit, with jobs that really train."""

from __future__ import annotations

import pytest

from peft_studio_local.connector import LocalConnector
from peft_studio_testkit import ConnectorSuite

pytestmark = pytest.mark.slow


class TestLocal(ConnectorSuite):
    connector = LocalConnector
