"""Hooks of the connector."""

from __future__ import annotations

from peft_studio import PlatformConnector, hookimpl


@hookimpl
def peft_studio_connector() -> type[PlatformConnector]:
    """Deliver the connector class; aiohttp is imported only now."""
    from peft_studio_myplatform.connector import MyPlatformConnector

    return MyPlatformConnector
