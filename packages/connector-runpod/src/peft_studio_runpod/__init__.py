"""PEFT Studio connector: fine-tune on RunPod's GPU pods."""

__version__ = "0.1.0"
