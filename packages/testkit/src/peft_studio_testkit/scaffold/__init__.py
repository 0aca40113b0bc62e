"""Writes a new connector: a complete distribution that passes the checks from the first minute."""

from peft_studio_testkit.scaffold.render import render

__all__ = ["render"]
