"""Write the training data in the order in which our trainer takes it, for the others. Runs in our environment."""

from __future__ import annotations

import sys
from pathlib import Path

from peft_studio_worker.training.batches import epoch_order


def main(source: Path, ordered: Path, seed: int) -> None:
    """Write one epoch."""
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    ordered.write_text("".join(lines[index] for index in epoch_order(len(lines), seed, 0)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
