"""Write the training data in the order in which our trainer takes it, for the others. Runs in our environment."""

from __future__ import annotations

import sys
from pathlib import Path

from peft_studio_worker.training.batches import epoch_order


def main(source: Path, ordered: Path, epochs: int, seed: int) -> None:
    """Write the epochs one after the other."""
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    with ordered.open("w", encoding="utf-8") as file:
        for epoch in range(epochs):
            file.writelines(lines[index] for index in epoch_order(len(lines), seed, epoch))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
