"""PEFT Studio connector: fine-tune on this machine."""

__version__ = "0.1.0"
