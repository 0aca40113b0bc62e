"""PEFT Studio connector: Acme."""

__version__ = "0.1.0"
