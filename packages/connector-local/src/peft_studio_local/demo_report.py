"""How the demo tells what happened: a table of answers before and after, the score, what to try next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from textwrap import shorten
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from peft_studio_local.demo_questions import Comparison, Kind, Question
from peft_studio_local.scoring import is_right, share

NAMES: Final[dict[Kind, str]] = {"held_out": "held-out questions", "ordinary": "ordinary questions"}
#: Columns of the table where there is no terminal to ask for its width.
_WIDTH = 120
#: The base model rambles; so many characters of an answer show that it does.
_LONGEST = 90


def say_step(number: int, title: str) -> None:
    """Begin one of the demo's steps."""
    click.echo(f"\n{click.style(f'{number}/4', bold=True)}  {title}")


@contextmanager
def waiting() -> Iterator[Callable[[str], None]]:
    """Gives the one who hears what is going on: on a terminal beside something that turns, else line by line."""
    console = Console()
    if not console.is_terminal:
        yield lambda message: click.echo(f"     {message}")
        return
    with console.status("asking…") as status:
        yield lambda message: status.update(Text(message))


def say_right(questions: Sequence[Question], answers: Sequence[str]) -> None:
    """How many of each kind were right."""
    for kind, name in NAMES.items():
        right = [
            is_right(answer, question.expected)
            for question, answer in zip(questions, answers, strict=True)
            if question.kind == kind
        ]
        click.echo(f"     {sum(right)} of {len(right)} {name} right")


def show_answers(comparisons: Sequence[Comparison]) -> None:
    """Every question with both answers, held-out ones first."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    titles: dict[Kind, str] = {
        "held_out": "Held-out questions: these phrasings were not in the training data",
        "ordinary": "Ordinary questions: what was not to be forgotten",
    }
    for kind, title in titles.items():
        console.print()
        console.print(_table(title, of_kind(comparisons, kind)))


def show_score(comparisons: Sequence[Comparison]) -> None:
    """The score, before and after."""
    click.echo()
    for kind, name in NAMES.items():
        rows = of_kind(comparisons, kind)
        before, after = _score([row.was_right for row in rows]), _score([row.is_right for row in rows])
        click.echo(f"{name:20} {before} right before  →  {click.style(after, bold=True)} right after")
    rule = "right: the expected words stand in the answer; case and punctuation do not count"
    click.echo(click.style(rule, dim=True))


def show_next(folder: Path, job_id: str, example: str) -> None:
    """Where things are, and what to try."""
    click.echo(f"\n{folder}/ holds adapter/, metrics.jsonl and the loss curve loss.png\n\nTry next:")
    click.echo(f"  peft-studio chat {quote(str(folder / 'adapter'))} --prompt {quote(example)}")
    click.echo(f"  peft-studio jobs show {job_id}")


def as_json(comparisons: Sequence[Comparison], folder: Path, seconds: float) -> dict[str, Any]:
    """The result for programs. Scores are fractions, 0 to 1, of the held-out questions."""
    held_out = of_kind(comparisons, "held_out")
    return {
        "questions": [_question(row) for row in comparisons],
        "score_before": share(row.was_right for row in held_out),
        "score_after": share(row.is_right for row in held_out),
        "adapter": folder / "adapter",
        "loss_plot": folder / "loss.png",
        "seconds": round(seconds, 1),
    }


def of_kind(comparisons: Sequence[Comparison], kind: Kind) -> list[Comparison]:
    """The comparisons of held-out, or of ordinary questions."""
    return [row for row in comparisons if row.question.kind == kind]


def _question(row: Comparison) -> dict[str, Any]:
    return {
        "question": row.question.text,
        "expected": row.question.expected,
        "before": row.before,
        "after": row.after,
        "correct_before": row.was_right,
        "correct_after": row.is_right,
        "kind": row.question.kind,
    }


def _table(title: str, rows: Sequence[Comparison]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_lines=False, expand=True, box=None)
    table.add_column("", ratio=4)
    table.add_column("before", ratio=5)
    table.add_column("after", ratio=5)
    for row in rows:
        table.add_row(
            Text(row.question.text),
            _answer(row.before, is_right=row.was_right),
            _answer(row.after, is_right=row.is_right),
        )
    return table


def _answer(answer: str, *, is_right: bool) -> Text:
    mark, colour = ("✓", "green") if is_right else ("✗", "red")
    return Text(f"{mark} ", style=colour) + Text(shorten(answer, _LONGEST, placeholder=" …"))


def _score(right: Sequence[bool]) -> str:
    return f"{sum(right)}/{len(right)} ({share(right):.0%})"
