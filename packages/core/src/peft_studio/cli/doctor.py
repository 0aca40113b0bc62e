"""`peft-studio connectors doctor`: what is wrong with the plugins that are installed here."""

from __future__ import annotations

import click

from peft_studio.cli.connectors import BROKEN, SEVERITY_COLOURS
from peft_studio.cli.output import json_option, print_json
from peft_studio.doctor import Diagnosis, examine, forget_vanished


@click.command()
@click.option("--forget", is_flag=True, help="Do not tell any more of plugins that are gone.")
@json_option
def doctor(forget: bool, as_json: bool) -> int:
    """Look for what is wrong with the plugins that are installed here. Imports none of them."""
    if forget:
        forget_vanished()
    found = examine()
    is_well = not any(diagnosis.is_fault for diagnosis in found)
    if as_json:
        print_json({"ok": is_well, "diagnoses": [diagnosis.to_dict() for diagnosis in found]})
    for diagnosis in [] if as_json else found:
        _tell(diagnosis)
    if not found and not as_json:
        click.echo(f"{click.style('ok', fg='green')} nothing is wrong")
    return 0 if is_well else BROKEN


def _tell(diagnosis: Diagnosis) -> None:
    severity = click.style(str(diagnosis.severity), fg=SEVERITY_COLOURS[diagnosis.severity])
    click.echo(f"{severity}: {diagnosis.what}")
    click.echo(f"  in: {diagnosis.where}")
    click.echo(f"  try: {diagnosis.remedy}")
