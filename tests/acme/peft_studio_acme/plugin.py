"""The hook."""

from __future__ import annotations

from peft_studio import hookimpl


@hookimpl
def peft_studio_connector():
    """Deliver the connector."""
    from peft_studio_acme.connector import AcmeConnector

    return AcmeConnector
