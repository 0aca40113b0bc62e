"""Hooks of the folder connector."""

from peft_studio import hookimpl


@hookimpl
def peft_studio_connector():
    """Deliver the connector class; imported only now, so that listing connectors stays quick."""
    from peft_studio_folder.connector import FolderConnector

    return FolderConnector
