"""PEFT Studio connector: models and adapters on the Hugging Face Hub."""

__version__ = "0.1.0"
