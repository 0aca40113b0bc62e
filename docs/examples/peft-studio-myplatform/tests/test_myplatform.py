"""The connector against its sandbox: every check of the interface."""

from peft_studio_myplatform.connector import MyPlatformConnector

from peft_studio_testkit import ConnectorSuite


class TestMyPlatform(ConnectorSuite):
    connector = MyPlatformConnector
