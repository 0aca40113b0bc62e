"""AcmeConnector against its fake platform: every check of the compliance suite."""

from peft_studio_testkit import ConnectorSuite

from peft_studio_acme.connector import AcmeConnector


class TestAcme(ConnectorSuite):
    connector = AcmeConnector
