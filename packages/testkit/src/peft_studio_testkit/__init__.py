"""Write a connector and know that it is right: compliance checks, sandboxes, a scaffolder."""

from __future__ import annotations

__version__ = "0.1.0"
