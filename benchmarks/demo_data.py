"""The training data that the demo ships, in the form that all trainers read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from environments import ROOT

SOURCE: Final = ROOT / "packages/connector-local/src/peft_studio_local/demo_data/train.jsonl"


def size() -> int:
    """How many examples there are."""
    return len(SOURCE.read_text(encoding="utf-8").splitlines())


def write(path: Path, count: int) -> None:
    """Write the first `count` pairs as conversational prompt and completion."""
    lines = SOURCE.read_text(encoding="utf-8").splitlines()[:count]
    if len(lines) < count:
        raise SystemExit(f"bench: {SOURCE} has {len(lines)} examples, {count} are needed")
    path.write_text("".join(f"{json.dumps(_conversation(**json.loads(line)))}\n" for line in lines), encoding="utf-8")


def _conversation(prompt: str, completion: str) -> dict[str, list[dict[str, str]]]:
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }
