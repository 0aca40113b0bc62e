"""What all trainers are told: the same model, data, order and hyper-parameters, handed over as one JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """One training run."""

    model: str
    #: Examples in the order in which they are trained, one batch after the other.
    data: str
    steps: int
    batch_size: int = 8
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 1e-3
    seed: int = 42

    def save(self, path: Path) -> None:
        """Write them for a trainer."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: str) -> Settings:
        """Read them in a trainer."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))

    def rows(self) -> list[dict[str, Any]]:
        """The examples of the whole run."""
        with Path(self.data).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file][: self.steps * self.batch_size]


def tell(stamps: list[float], losses: list[float], tokens: list[int]) -> None:
    """A trainer's answer: when each step ended (any clock), its loss, its tokens without padding."""
    print(json.dumps({"stamps": stamps, "losses": losses, "tokens": tokens}))
