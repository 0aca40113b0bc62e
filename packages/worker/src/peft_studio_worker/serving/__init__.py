"""The worker over the network: what runs on a rented machine, from its first second to its own teardown.

A rented machine costs money until somebody ends it, so the worker that it runs looks after the machine as well: it
serves the job's inputs, events and artifact to one client, keeps the limits of time and money, and tears the machine
down when the client has everything, or has vanished. `bootstrap_script` is what a platform is told to run; it lives in
core, because whoever rents a machine has no worker installed.
"""

from __future__ import annotations

from peft_studio.rented.script import bootstrap_script

__all__ = ["bootstrap_script"]
