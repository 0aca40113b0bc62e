"""`peft-studio demo` and `peft-studio chat`."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from time import monotonic

import click

from peft_studio.cli.output import json_option, print_json
from peft_studio.errors import ArtifactNotFound


@click.command()
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder for the results; new or empty.  "
    "[default: peft-studio-demo, or the next free number]",
)  # fmt: skip
@click.option("--base-model", metavar="MODEL", help="Another model: a folder, a .gguf file or a Hugging Face id.")
@click.option("--max-steps", metavar="N", type=click.IntRange(min=1), help="Stop after N steps: few teach little.")
@click.option("--seed", metavar="N", type=click.IntRange(min=0), default=42, show_default=True, help="Seed of the job.")
@json_option
def demo(out: Path | None, base_model: str | None, max_steps: int | None, seed: int, as_json: bool) -> int:
    """Fine-tune a real model on this machine and see what it learned.

    SmolLM2-135M-Instruct learns 24 facts about a town that does not exist. It is asked before and after, in words
    that were not in its training data, and a few ordinary questions too, to see what it forgot.
    """
    from peft_studio_local import demo_report
    from peft_studio_local.demo import Demo, Stopped, check_folder, free_folder
    from peft_studio_local.demo_model import packaged_model

    started = monotonic()
    folder = free_folder(Path()) if out is None else out.expanduser()
    check_folder(folder)
    model = base_model or str(packaged_model())
    try:
        # With --json, stdout is for the result alone; the story goes where messages go.
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            _, comparisons = Demo(model, folder, seed, max_steps).run()
    except Stopped as stopped:
        return stopped.exit_code
    seconds = monotonic() - started
    if as_json:
        print_json(demo_report.as_json(comparisons, folder.absolute(), seconds))
    else:
        click.echo(f"\ndone in {seconds:.0f} s")
    return 0


@click.command()
@click.argument("adapter", metavar="ADAPTER_DIR", type=click.Path(path_type=Path))
@click.option("--prompt", metavar="TEXT", help="Ask this, print the answer and end.")
@click.option("--base-model", metavar="MODEL", help="The model it was trained on, where that is elsewhere now.")
@click.option("--max-new-tokens", metavar="N", type=click.IntRange(min=1), help="Longest answer, in tokens.")
def chat(adapter: Path, prompt: str | None, base_model: str | None, max_new_tokens: int | None) -> int:
    """Talk to an adapter."""
    from peft_studio_local.worker_process import talk

    folder = adapter.expanduser()
    _check_adapter(folder)
    given = {"--prompt": prompt, "--base-model": base_model, "--max-new-tokens": max_new_tokens}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return talk(str(folder), *options)


def _check_adapter(folder: Path) -> None:
    """Raise `ArtifactNotFound` unless `folder` is an adapter's; the remedy names the one that lies in it."""
    if (folder / "adapter_config.json").is_file():
        return
    if not folder.exists():
        raise ArtifactNotFound(f"there is no adapter folder {folder}")
    inner = folder / "adapter"
    remedy = f"peft-studio chat {inner}" if (inner / "adapter_config.json").is_file() else None
    raise ArtifactNotFound(f"{folder} is not an adapter folder: it has no adapter_config.json", remedy=remedy)
