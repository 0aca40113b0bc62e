"""The model card of an adapter that comes without one, made of its record `peft_studio.json` and of the metadata.

Nothing is concluded: what neither of them says is not in the card.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Final, Self

from attrs import evolve, frozen

from peft_studio_huggingface.portable import ADAPTER, RECORD, Base, discreet, document, is_hub_name, public
from peft_studio_huggingface.reading import mapping, text, texts
from peft_studio_huggingface.repository import Model

#: Rows of the table of losses: those of a long run are thinned out.
_ROWS: Final = 20
_BARS: Final = "▁▂▃▄▅▆▇█"
_RESULTS: Final = ("steps", "tokens", "examples", "seconds", "first_loss", "last_loss")


@frozen(kw_only=True)
class Card:
    """What there is to tell."""

    title: str
    base_model: str | None
    is_base_on_hub: bool
    #: For who loads the adapter, where that does not find its base model by itself.
    warning: str | None = None
    license: str | None
    #: Of a licence that the Hub has no word for.
    license_name: str | None = None
    license_link: str | None = None
    datasets: tuple[str, ...]
    description: str | None
    tags: tuple[str, ...]
    method: str | None
    settings: Mapping[str, Any]
    results: Mapping[str, Any]
    #: (step, loss), in their order.
    losses: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, metadata: Mapping[str, Any], folder: Path, repository: str) -> Self:
        """From the metadata of an upload, which win, and the adapter folder."""
        record, adapter = document(folder / RECORD), document(folder / ADAPTER)
        made_from = mapping(record.get("base_model"))
        settings = dict(mapping(record.get("config"))) or _adapter_settings(adapter)
        base = Base.of(metadata, record, adapter)
        description = text(metadata.get("description"))
        return cls(
            title=text(metadata.get("name")) or repository.rpartition("/")[2],
            base_model=base.name,
            is_base_on_hub=base.is_on_hub,
            warning=base.warning,
            license=text(metadata.get("license")) or text(made_from.get("license")),
            datasets=texts(public(metadata.get("dataset") or metadata.get("datasets"))),
            description=None if description is None else discreet(description),
            tags=texts(metadata.get("tags")),
            method=text(settings.get("algorithm")) or (text(adapter.get("peft_type")) or "").lower() or None,
            settings={name: public(value) for name, value in settings.items() if _is_plain(value)},
            results=public({**_results(record), **mapping(metadata.get("metrics"))}),
            losses=_losses(metadata.get("loss_curve") or record.get("evaluations")),
        )

    def with_license_of(self, base: Model | None) -> Self:
        """The licence of the base model binds the adapter too."""
        if base is None or base.license is None:
            return self
        name, link = (text(base.card.get(key)) for key in ("license_name", "license_link"))
        return evolve(self, license=base.license, license_name=name, license_link=link)

    def render(self) -> str:
        """Markdown with the Hub's header, every value of which is written as JSON: YAML reads that."""
        header = "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in self._header())
        return f"---\n{header}---\n\n" + "\n\n".join(self._parts()) + "\n"

    def _header(self) -> Iterator[tuple[str, Any]]:
        yield "library_name", "peft"
        yield "pipeline_tag", "text-generation"
        if self.base_model and self.is_base_on_hub:  # the Hub refuses names that it does not know
            yield "base_model", self.base_model
            yield "base_model_relation", "adapter"
        for name in ("license", "license_name", "license_link"):
            if getattr(self, name):
                yield name, getattr(self, name)
        if hub := [name for name in self.datasets if is_hub_name(name)]:
            yield "datasets", hub
        yield "tags", list(dict.fromkeys(["peft", *([self.method] if self.method else []), "peft-studio", *self.tags]))

    def _parts(self) -> Iterator[str]:
        yield f"# {self.title}"
        base = f" for `{self.base_model}`" if self.base_model else ""
        yield f"A {self.method or 'PEFT'} adapter{base}, trained with PEFT Studio."
        if self.description:
            yield self.description
        if self.warning:
            yield f"## Base model\n\n{self.warning}"
        if self.datasets:
            yield "## Data\n\n" + "\n".join(f"* {name}" for name in self.datasets)
        if self.settings:
            yield "## Hyper-parameters\n\n" + _table(("setting", "value"), self.settings.items())
        if self.results:
            yield "## Metrics\n\n" + _table(("metric", "value"), self.results.items())
        if self.losses:
            rows = [(f"{step:g}", f"{loss:.4f}") for step, loss in _thinned(self.losses)]
            yield f"## Loss\n\n`{_curve(self.losses)}`\n\n" + _table(("step", "loss"), rows)
        yield f"## Licence\n\n{self._licence()}"

    def _licence(self) -> str:
        if self.license is None:
            return "Unknown: the base model states none. Find it out before you share this adapter."
        named = f"{self.license} ({self.license_name})" if self.license_name else self.license
        return f"`{named}`. The licence of the base model binds its adapters too."


def _adapter_settings(adapter: Mapping[str, Any]) -> dict[str, Any]:
    named = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "target_modules": "target_modules"}
    return {name: adapter[key] for name, key in named.items() if adapter.get(key) is not None}


def _results(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", " "): record[name] for name in _RESULTS if record.get(name) is not None}


def _losses(rows: Any) -> tuple[tuple[float, float], ...]:
    """From pairs, or from rows with `step` and `loss`; what is neither is left out."""
    pairs = [_pair(row) for row in rows] if isinstance(rows, Sequence) and not isinstance(rows, str) else []
    return tuple(pair for pair in pairs if pair is not None)


def _pair(row: Any) -> tuple[float, float] | None:
    pair: Any = (row.get("step"), row.get("loss")) if isinstance(row, Mapping) else row
    try:
        step, loss = (float(value) for value in pair)
    except (TypeError, ValueError):
        return None
    return (step, loss) if isfinite(loss) else None


def _thinned(losses: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most so many, the first and the last among them."""
    last = len(losses) - 1
    count = min(_ROWS, len(losses))
    return [losses[round(number * last / max(1, count - 1))] for number in range(count)]


def _curve(losses: Sequence[tuple[float, float]]) -> str:
    values = [loss for _, loss in _thinned(losses)]
    lowest, span = min(values), max(values) - min(values) or 1.0
    return "".join(_BARS[round((value - lowest) / span * (len(_BARS) - 1))] for value in values)


def _table(head: tuple[str, str], rows: Any) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    return "\n".join([*lines, *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows)])


def _cell(value: Any) -> str:
    """On one line, without a bar that would end it."""
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return " ".join(shown.split()).replace("|", "\\|")


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) or (isinstance(value, list) and bool(value))
