"""PEFT Studio connector: runs and artifacts at Weights & Biases."""

__version__ = "0.1.0"
