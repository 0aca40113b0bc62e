"""PEFT Studio connector: models and adapters on the Hugging Face Hub, and its Jobs."""

__version__ = "0.1.0"
