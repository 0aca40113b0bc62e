"""The README.md of an adapter: what it is, what it was made from, and how well it learnt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from peft_studio.lines import sparkline
from peft_studio.training_config import TrainingConfig
from peft_studio_worker.training.base_model import BaseModel
from peft_studio_worker.training.checkpoints import Progress

_SETTINGS = (
    "algorithm", "rank", "alpha", "dropout", "quantization", "learning_rate", "lr_scheduler_type", "warmup_steps",
    "weight_decay", "max_grad_norm", "batch_size", "gradient_accumulation_steps", "num_epochs", "max_steps",
    "max_seq_length", "packing", "completion_only_loss", "validation_split", "seed",
)  # fmt: skip

#: Rows of the table of losses.
_ROWS = 8

#: Of a base model that was no name of the hub.
_NO_ADDRESS = "which lay on the machine of the training: load it from where you have it"

_TEXT = """\
# {title}

A {method} adapter for {named}, trained with PEFT Studio.

## Use

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, "path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```

## Training

{training}

{loss}| setting | value |
|---|---|
{settings}

Software: {versions}.

## Licence

{licence}
"""


@frozen
class Licence:
    """What the base model's own files say of its licence: `identifier` as written there, or a file with the text."""

    identifier: str | None
    file: str | None

    @classmethod
    def of(cls, folder: Path) -> Licence:
        """Read it from the model's README header and its LICENSE file. Nothing is concluded from names."""
        names = sorted(path.name for path in folder.glob("LICEN[SC]E*"))
        stated = _front_matter(folder / "README.md").get("license")
        return cls(str(stated) if stated else None, names[0] if names else None)

    @property
    def sentence(self) -> str:
        """For a reader of the card."""
        if self.identifier:
            return f"The base model's files state the licence `{self.identifier}`; it binds this adapter too."
        if self.file:
            return f"The base model's licence is in its file `{self.file}`; it binds this adapter too."
        return "Unknown: the base model's files do not state a licence. Find it out before you share this adapter."


def model_card(
    config: TrainingConfig,
    base: BaseModel,
    progress: Progress,
    *,
    examples: int,
    tokens: int,
    versions: Mapping[str, str],
) -> str:
    """The card as Markdown with the hub's header."""
    licence = Licence.of(base.folder)
    is_on_hub = base.source == "huggingface"
    settings = {name: getattr(config, name) for name in _SETTINGS}
    return _header(config, base, licence) + _TEXT.format(
        title=config.project_name or f"{base.name.rpartition('/')[2]}-{config.algorithm}",
        method=config.algorithm,
        base=base.name,
        named=f"[`{base.name}`](https://huggingface.co/{base.name})" if is_on_hub else f"`{base.name}`, {_NO_ADDRESS}",
        training=_story(config, progress, examples, tokens),
        loss=_curve(progress),
        settings="\n".join(f"| {name} | {value} |" for name, value in settings.items() if value is not None),
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        licence=licence.sentence,
    )


def _header(config: TrainingConfig, base: BaseModel, licence: Licence) -> str:
    header: dict[str, Any] = {"library_name": "peft", "pipeline_tag": "text-generation"}
    if base.source == "huggingface":  # the hub refuses names that it does not know
        header["base_model"] = base.name
    if licence.identifier:
        header["license"] = licence.identifier
    if _is_hub_name(config.told_dataset_name):
        header["datasets"] = [config.told_dataset_name]
    header["tags"] = ["peft", config.algorithm, "peft-studio"]
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n"


def _story(config: TrainingConfig, progress: Progress, examples: int, tokens: int) -> str:
    name = config.told_dataset_name
    data = f"[`{name}`](https://huggingface.co/datasets/{name})" if _is_hub_name(name) else f"`{name}`"
    lines = [
        f"* data: {data}, {examples} examples, {tokens} tokens an epoch",
        f"* steps: {progress.step}, {progress.tokens} tokens seen",
    ]
    if progress.first_loss is not None and progress.last_loss is not None:
        lines.append(
            f"* training loss: {progress.first_loss:.4f} at the first step, {progress.last_loss:.4f} at the last"
        )
    if progress.evaluations:
        step, loss = progress.evaluations[-1]
        lines.append(f"* validation loss: {loss:.4f} after step {step:g}")
    return "\n".join(lines)


def _curve(progress: Progress) -> str:
    """The training loss as a line of blocks and a table of a few steps; nothing for a run of one step."""
    if len(progress.losses) < 2:
        return ""
    last = len(progress.losses) - 1
    count = min(_ROWS, last + 1)
    shown = [progress.losses[round(number * last / (count - 1))] for number in range(count)]
    line = sparkline([loss for _, loss in progress.losses], len(progress.losses))
    rows = "\n".join(f"| {step:g} | {loss:.4f} |" for step, loss in shown)
    return f"`{line}`\n\n| step | training loss |\n|---|---|\n{rows}\n\n"


def _is_hub_name(name: str) -> bool:
    """True for `owner/name`; a file's name has no slash."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII) is not None


def _front_matter(readme: Path) -> dict[str, Any]:
    """The YAML header of a hub README; empty when there is none."""
    if not readme.is_file():
        return {}
    parts = readme.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        header = yaml.safe_load(parts[1])
    except yaml.YAMLError:  # a broken header states nothing
        return {}
    return header if isinstance(header, dict) else {}
