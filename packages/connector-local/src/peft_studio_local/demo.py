"""The demo: a language model learns invented facts on this machine, through the interface that rents GPUs.

Questions are asked before and after, by the worker in a process of its own; the fine-tuning in between is a job like
any other: a `TrainingConfig`, the `local` connector, a line in the ledger.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

from attrs import frozen

from peft_studio.cli.desk import Desk
from peft_studio.cli.output import stamp
from peft_studio.cli.plot import plot_loss
from peft_studio.cli.run import watch
from peft_studio.errors import InvalidConfig
from peft_studio.jobs import Jobs
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.manager import ConnectorManager
from peft_studio.training_config import TrainingConfig
from peft_studio_local import demo_report as report
from peft_studio_local import launch
from peft_studio_local.demo_questions import TRAINING_DATA, Comparison, Question, load_questions
from peft_studio_local.worker_process import ask

#: Enough for every answer that was taught; the base model would go on and on.
MAX_NEW_TOKENS: Final = 32
DEFAULT_FOLDER: Final = "peft-studio-demo"


class Stopped(Exception):
    """The fine-tuning did not finish, and why has been told already; `exit_code` is what `run` would end with."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@frozen
class Demo:
    """One run of the demo: which model learns, and the folder that keeps what comes of it."""

    base_model: str
    folder: Path
    seed: int
    #: Only a look at the demo: it stops early and learns little.
    max_steps: int | None = None

    def run(self) -> tuple[JobRecord, list[Comparison]]:
        """Ask, fine-tune, ask again and tell. Raises `Stopped` when the job was left or failed."""
        config = self.config()
        launch.check(config)
        _make(self.folder)
        questions = load_questions()
        report.say_step(1, f"before: {len(questions)} questions to {Path(self.base_model).stem}")
        before = self._ask(questions)
        report.say_step(2, "fine-tuning")
        job = _fine_tune(config, self.folder)
        report.say_step(3, "after: the same questions")
        after = self._ask(questions, self.folder / "adapter")
        comparisons = [Comparison(*row) for row in zip(questions, before, after, strict=True)]
        report.say_step(4, "what it learned")
        report.show_answers(comparisons)
        report.show_score(comparisons)
        report.show_next(self.folder, job.id, questions[0].text)
        return job, comparisons

    def config(self) -> TrainingConfig:
        """The job. A high learning rate and many passes: 24 facts are to be learnt by heart, not a style."""
        return TrainingConfig(
            base_model=self.base_model,
            dataset_path=str(TRAINING_DATA),
            project_name="demo",
            algorithm="lora",
            rank=16,
            alpha=32,
            learning_rate=1e-3,
            lr_scheduler_type="cosine",
            warmup_steps=4,
            batch_size=8,
            num_epochs=4,
            max_steps=self.max_steps,
            seed=self.seed,
            output_dir=str((self.folder / "adapter").absolute()),
        )

    def _ask(self, questions: list[Question], adapter: Path | None = None) -> list[str]:
        texts = [question.text for question in questions]
        with report.waiting() as tell:
            answers = ask(self.base_model, texts, tell, adapter=adapter, max_new_tokens=MAX_NEW_TOKENS)
        report.say_right(questions, answers)
        return answers


def free_folder(parent: Path) -> Path:
    """`peft-studio-demo` in `parent`, or the first of -2, -3, … that is not taken."""
    number = 1
    while True:
        folder = parent / (DEFAULT_FOLDER if number == 1 else f"{DEFAULT_FOLDER}-{number}")
        if is_free(folder):
            return folder
        number += 1


def is_free(folder: Path) -> bool:
    """Whether `folder` is new, or an empty folder."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def check_folder(folder: Path) -> None:
    """Raise `InvalidConfig` unless `folder` is new, or an empty folder."""
    if not is_free(folder):
        raise InvalidConfig(f"{folder} is not an empty folder", remedy="choose a new folder with --out")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfig(f"the folder {folder} cannot be made", why=error.strerror) from error


def _fine_tune(config: TrainingConfig, folder: Path) -> JobRecord:
    """Run the job in sight of the user; then keep its metrics and draw its loss in `folder`."""
    with Ledger() as ledger:
        job = asyncio.run(_submit(ledger, config))
        code = watch(Desk(ledger), job)
        if code != 0:
            raise Stopped(code)
        asyncio.run(_keep_metrics(ledger, job, folder))
        return ledger.job(job.id)


async def _submit(ledger: Ledger, config: TrainingConfig) -> JobRecord:
    async with ConnectorManager(ledger=ledger) as manager:
        return await Jobs(manager, ledger).submit("local", config)


async def _keep_metrics(ledger: Ledger, job: JobRecord, folder: Path) -> None:
    async with ConnectorManager(ledger=ledger) as manager:
        rows = await Jobs(manager, ledger).metrics(job.id)
    lines = [json.dumps(row, default=stamp) for row in rows]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plot_loss(rows, folder / "loss.png", title=f"{job.id}  {Path(job.base_model).stem}")
