"""PEFT Studio connector: the Hugging Face Hub and its Jobs."""

__version__ = "0.1.0"
