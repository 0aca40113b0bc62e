"""The Hub's sandbox in a process of its own: each line on stdin empties it, and is answered with its credentials."""

from __future__ import annotations

import json
import sys

from peft_studio_huggingface.sandbox import HuggingFaceSandbox


def main() -> None:
    """Serve until stdin ends."""
    with HuggingFaceSandbox() as sandbox:
        for _ in sys.stdin:
            sandbox.reset()
            told = {"credentials": sandbox.credentials(), "environment": sandbox.environment()}
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
