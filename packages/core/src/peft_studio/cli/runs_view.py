"""Runs for the eye and for programs: tables of them, one in full, several side by side."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from peft_studio.cli.output import ago, coloured, stamp
from peft_studio.lines import short_duration, sparkline
from peft_studio.models import Run
from peft_studio.tracking.curves import LOSSES, Curve, flat, lower_is_better

Measured = Sequence[tuple[Run, Mapping[str, Curve]]]
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]

#: Blocks of a sparkline.
_WIDTH: Final = 40
#: Letters of a value in a table.
_LONGEST: Final = 40


def list_table(runs: Sequence[Run]) -> Table:
    """One line for each run; a column that says nothing is left out."""
    headings = ("ID", "NAME", "PROJECT", "STATUS", "CREATED", "DURATION", "LOSS")
    rows = [_row(run) for run in runs]
    kept = [column for column in range(len(headings)) if any(row[column] for row in rows)]
    return tuple(headings[column] for column in kept), [tuple(row[column] for column in kept) for row in rows]


def listed(run: Run) -> dict[str, Any]:
    """A run of a list for programs."""
    return {**_about(run), "loss": plain(_loss(run))}


def details(run: Run) -> dict[str, Any]:
    """A run for programs."""
    return {**_about(run), "config": plain(run.config), "summary": plain(run.summary)}


def summary_lines(run: Run) -> Iterator[str]:
    """A run for people, without its metrics."""
    about: dict[str, Any] = {
        **{name: _line(value) if isinstance(value, str) else value for name, value in _about(run).items()},
        "status": coloured(run.status),
        "created": None if run.created is None else f"{stamp(run.created)} ({ago(run.created)})",
        "duration": None if run.duration is None else short_duration(run.duration),
        "tags": _line(", ".join(run.tags)) or None,
    }
    yield from (f"{name:18} {value}" for name, value in about.items() if value is not None)
    for name, values in (("config", run.config), ("summary", run.summary)):
        if values:
            yield click.style(name, dim=True)
            yield from (f"  {_line(key):28} {_text(value)}" for key, value in flat(values).items())


def metric_table(curves: Mapping[str, Curve]) -> Table:
    """One line for each metric."""
    rows: list[tuple[str, ...]] = [
        (
            _line(curve.name),
            _number(curve.last),
            _best(curve),
            str(len(curve.steps)),
            click.style(_spark(curve), fg="cyan"),
        )
        for curve in curves.values()
    ]
    return ("METRIC", "LAST", "BEST", "ROWS", "CURVE"), rows


def plain(value: Any) -> Any:
    """Values for JSON, which has no word for what is no finite number but null."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def labels(runs: Sequence[Run]) -> list[str]:
    """What people call the runs; ids where that would be the same."""
    names = Counter(run.name for run in runs)
    return [_line(run.name if names[run.name] == 1 else run.id) for run in runs]


def comparison_table(found: Measured, metrics: Sequence[str]) -> Table:
    """Runs in columns: how they stand, where their configs differ, and each metric with the best run marked."""
    runs = [run for run, _ in found]
    durations = ["-" if run.duration is None else short_duration(run.duration) for run in runs]
    rows = [("status", *(coloured(run.status) for run in runs)), ("duration", *durations)]
    for name, values in _differences(runs).items():
        rows.append((_line(name), *("-" if value is None else _text(value) for value in values)))
    for metric in metrics:
        curves = [measured.get(metric) for _, measured in found]
        winner = _winner(curves)
        rows.append((f"{_line(metric)} last", *("-" if curve is None else _number(curve.last) for curve in curves)))
        if lower_is_better(metric) is not None:
            rows.append((f"{_line(metric)} best", *(_marked(curve, is_best=curve is winner) for curve in curves)))
    return ("", *labels(runs)), rows


def compared(found: Measured, metrics: Sequence[str]) -> dict[str, Any]:
    """The same for programs."""
    runs = [run for run, _ in found]
    told = {}
    for metric in metrics:
        curves = [measured.get(metric) for _, measured in found]
        winner = _winner(curves)
        best = next((run.id for run, curve in zip(runs, curves, strict=True) if curve is winner), None)
        told[metric] = {
            "lower_is_better": lower_is_better(metric),
            "best_run": None if winner is None else best,
            "runs": [None if curve is None else _measures(curve) for curve in curves],
        }
    return {"runs": [_about(run) for run in runs], "config": plain(_differences(runs)), "metrics": told}


def _about(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "project": run.project,
        "status": run.status,
        "created": run.created,
        "duration": run.duration,
        "url": run.url,
        "tags": list(run.tags),
    }


def _row(run: Run) -> tuple[str, ...]:
    """What stands in the id is not said again."""
    parts = run.id.split("/")
    loss = _loss(run)
    return (
        _line(run.id),
        "" if run.name in parts else _line(run.name),
        "" if run.project is None or run.project in parts else _line(run.project),
        coloured(run.status),
        "-" if run.created is None else ago(run.created),
        "-" if run.duration is None else short_duration(run.duration),
        "" if loss is None else _number(loss),
    )


def _loss(run: Run) -> float | None:
    """The last training loss, as the summary tells it."""
    summary = flat(run.summary or {})
    known = (summary[name] for name in LOSSES if isinstance(summary.get(name), int | float))
    return next(known, None)


def _differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Fields of the configs that are not the same in all runs, each with its values; None where one has no such."""
    configs = [flat(run.config or {}) for run in runs]
    names = dict.fromkeys(name for config in configs for name in config)
    values = {name: [config.get(name) for config in configs] for name in names}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def _winner(curves: Sequence[Curve | None]) -> Curve | None:
    """The curve with the best value; None when there is nothing to win, or nobody to win against."""
    ranked = [(curve.best[0], curve) for curve in curves if curve is not None and curve.best is not None]
    if len(ranked) < 2:
        return None
    choose = min if lower_is_better(ranked[0][1].name) else max
    return choose(ranked, key=lambda pair: pair[0])[1]


def _measures(curve: Curve) -> dict[str, Any]:
    value, step = curve.best or (None, None)
    return {
        "last": plain(curve.last),
        "best": value,
        "best_step": step,
        "last_step": curve.steps[-1],
        "rows": len(curve.steps),
    }


def _marked(curve: Curve | None, *, is_best: bool) -> str:
    if curve is None:
        return "-"
    return click.style(f"{_best(curve)} *", fg="green", bold=True) if is_best else _best(curve)


def _best(curve: Curve) -> str:
    return "" if curve.best is None else f"{_number(curve.best[0])} @{curve.best[1]}"


def _spark(curve: Curve) -> str:
    values = [value for _, value in curve.on_grid(curve.steps[0], curve.steps[-1], _WIDTH)]
    return sparkline(values, _WIDTH) if values else ""


def _number(value: float) -> str:
    """Four digits that count."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _line(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def _line(text: str) -> str:
    """One line that no terminal obeys: names, texts and keys are those of whoever wrote the run."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
