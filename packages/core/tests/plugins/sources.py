"""Plugin modules, and a class of an embedding program, for several tests."""

from __future__ import annotations

from peft_studio import PlatformConnector

#: A plugin module that delivers the connector beside it.
WORKING = """
from peft_studio import hookimpl

@hookimpl
def peft_studio_connector():
    from PACKAGE.connector import Connector
    return Connector
"""

#: A plugin module that reviews jobs.
REVIEWER = """
from peft_studio import hookimpl
from peft_studio.models import Problem

@hookimpl
def peft_studio_review_job(config):
    return [Problem(message=f"NAME says no to {config.base_model}")]
"""


class Mine(PlatformConnector):
    """A connector of an embedding program."""

    name = "mine"
    display_name = "Mine"
    description = "Of the program itself"
    version = "3.0"

    async def connect(self, credentials): ...

    async def disconnect(self): ...
