"""`peft-studio queue`: what waits for a platform, and what became of it."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import click
from attrs import define, field

from peft_studio.cli.connectors import complete_name
from peft_studio.cli.output import ago, json_option, print_json, print_table, stamp
from peft_studio.ledger import Ledger
from peft_studio.paths import queue_file
from peft_studio.queue import Operation, Queue, State

if TYPE_CHECKING:
    from peft_studio.queue.drain import Drainer, Report

#: Exit codes of `flush`: something was refused for good, or waits for a yes.
REFUSED, UNCONFIRMED = 6, 1

_COLOURS = {State.ASKING: "yellow", State.DEAD: "red", State.DONE: "green", State.RUNNING: "cyan"}
#: Of these there may be thousands: they are counted, not told one by one.
_SMALL = ("log_metrics", "log_text", "log_events")
#: Seconds between two looks at the queue with --watch.
_PAUSE = 1.0

ids = click.argument("numbers", metavar="ID...", type=int, nargs=-1)


@click.group()
def queue() -> None:
    """Show, carry out and drop what waits for a platform.

    ID is the number of an operation, as `queue list` shows it.
    """


@queue.command("list")
@click.option("--all", "show_all", is_flag=True, help="Also what is done, as long as it is remembered.")
@json_option
def list_operations(show_all: bool, as_json: bool) -> None:
    """What waits and what has failed for good, oldest first."""
    found = _operations(show_all=show_all)
    if as_json:
        print_json([_summary(operation) for operation in found])
    elif not found:
        click.echo("nothing waits in the queue", err=True)
    else:
        print_table(("ID", "OPERATION", "CONNECTOR", "STATE", "QUEUED", "TRIES", "WHY"), [_row(each) for each in found])


def _operations(*, show_all: bool) -> list[Operation]:
    if not queue_file().exists():
        return []
    with Queue() as opened:
        opened.sweep()
        return opened.operations() if show_all else opened.operations(*(set(State) - {State.DONE}))


@queue.command()
@click.argument("number", metavar="ID", type=int)
@json_option
def show(number: int, as_json: bool) -> None:
    """Everything that is known of an operation."""
    with Queue() as opened:
        opened.sweep()
        operation = opened.operation(number)
    details = {
        **_summary(operation), "key": operation.key, "stream": operation.stream, "not_before": operation.not_before,
        "expires": operation.expires, "finished": operation.finished, "result": operation.result,
        "payload": operation.payload,
    }  # fmt: skip
    if as_json:
        print_json(details)
        return
    for name, value in details.items():
        if value not in (None, "", {}):
            click.echo(f"{name:12} {stamp(value) if hasattr(value, 'isoformat') else value}")


@queue.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_name)
@click.option("--yes", is_flag=True, help="Say yes to every question about prices and ages.")
@click.option("--watch", is_flag=True, help="Go on until nothing waits any more.")
@json_option
def flush(names: tuple[str, ...], yes: bool, watch: bool, as_json: bool) -> int:
    """Carry out now what waits for the connectors NAME, or for all."""
    from peft_studio.cli.desk import Desk
    from peft_studio.queue.drain import Drainer

    async def go() -> int:
        with Ledger() as ledger, Queue() as opened:
            async with Desk(ledger).manager() as manager:
                tell = None if as_json else _tell
                drainer = Drainer(opened, manager, ledger, on_settled=tell)
                return await Flush(drainer, names, says_yes=yes, as_json=as_json).run(watch=watch)

    return asyncio.run(go())


@define
class Flush:
    """One `queue flush`."""

    drainer: Drainer
    names: Collection[str]
    says_yes: bool
    as_json: bool
    _done: Counter[State] = field(factory=Counter)
    _declined: set[int] = field(factory=set)

    async def run(self, *, watch: bool) -> int:
        """Drain, ask, and drain again while there is an answer to act upon; returns the exit code."""
        self.drainer.queue.hurry(self.names or None)
        from peft_studio.publishing.publisher import Publisher
        from peft_studio.tracking.feed import Feeder

        while True:
            Feeder(self.drainer.ledger, self.drainer.queue).feed_all()
            await Publisher(self.drainer.manager, self.drainer.ledger, self.drainer.queue).publish_all()
            report = await self.drainer.drain(self.names or None)
            self._done += Counter(operation.state for operation in report.settled)
            if self._ask():
                continue
            if not (watch and self._left(State.WAITING, State.RUNNING)):
                return self._result(report)
            await asyncio.sleep(_PAUSE)

    def _left(self, *states: State) -> list[Operation]:
        found = self.drainer.queue.operations(*states)
        return [operation for operation in found if not self.names or operation.connector in self.names]

    def _ask(self) -> bool:
        """Put the questions that were not put yet; True when one was answered with yes."""
        asked = [operation for operation in self._left(State.ASKING) if operation.number not in self._declined]
        agreed = [operation for operation in asked if self._agrees(operation)]
        self._declined |= {operation.number for operation in asked if operation not in agreed}
        for operation in agreed:
            self.drainer.queue.confirm(operation.number)
        return bool(agreed)

    def _agrees(self, operation: Operation) -> bool:
        text = f"{operation.number} {_title(operation)}: {operation.question}"
        if self.says_yes:
            click.echo(f"{text} yes", err=True)
            return True
        if not sys.stdin.isatty():
            click.echo(f"{text} (to say yes: peft-studio queue flush --yes)", err=True)
            return False
        return click.confirm(text, err=True)

    def _result(self, report: Report) -> int:
        left, asking = self._left(State.WAITING, State.RUNNING), self._left(State.ASKING)
        dead = self._done[State.DEAD]
        if self.as_json:
            reasons = {name: str(error) for name, error in report.unreachable.items()}
            print_json(
                {
                    "done": self._done[State.DONE], "dead": dead, "waiting": len(left),
                    "needs_confirmation": len(asking), "unreachable": reasons,
                }
            )  # fmt: skip
        else:
            for error in report.unreachable.values():
                click.echo(f"{click.style('Error:', fg='red')} {error}", err=True)
            click.echo(f"done {self._done[State.DONE]}, waiting {len(left) + len(asking)}, failed for good {dead}")
        unreachable = next((error.exit_code for error in report.unreachable.values()), 0)
        return REFUSED if dead else unreachable or (UNCONFIRMED if asking else 0)


@queue.command()
@ids
@click.option("--dead", is_flag=True, help="All that have failed for good.")
@click.pass_context
def retry(context: click.Context, numbers: tuple[int, ...], dead: bool) -> None:
    """Let operations be tried again as if they had never failed."""
    if dead == bool(numbers):
        context.fail("give an ID, or --dead alone")
    from peft_studio.queue.kinds import KINDS

    with Ledger() as ledger, Queue() as opened:
        opened.sweep()
        for operation in opened.dead() if dead else [opened.operation(number) for number in numbers]:
            kind = KINDS.get(operation.kind)
            if kind is not None and kind.revive is not None:
                kind.revive(ledger, operation)
            click.echo(f"{opened.retry(operation.number).number} {_title(operation)}: waits again")
    click.echo("carry it out: peft-studio queue flush", err=True)


@queue.command()
@ids
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def drop(context: click.Context, numbers: tuple[int, ...], yes: bool) -> None:
    """Forget operations without carrying them out."""
    if not numbers:
        context.fail("give an ID")
    with Ledger() as ledger, Queue() as opened:
        chosen = [opened.operation(number) for number in numbers]
        if not (yes or _agrees_to_drop(context, chosen)):
            return
        for operation in chosen:
            _drop(opened, ledger, operation)
            click.echo(f"{operation.number} {_title(operation)}: dropped")


def _drop(opened: Queue, ledger: Ledger, operation: Operation) -> None:
    """The ledger first: a submission that is still in the queue then finds its job cancelled."""
    from peft_studio.queue.kinds import KINDS

    kind = KINDS.get(operation.kind)
    if kind is not None and kind.bury is not None and operation.state is not State.DONE:
        kind.bury(ledger, operation)
    opened.drop(operation.number)


def _agrees_to_drop(context: click.Context, chosen: Sequence[Operation]) -> bool:
    if not sys.stdin.isatty():
        context.fail("there is nobody to ask: say --yes")
    for operation in chosen:
        costs = " (it may cost until it is stopped)" if operation.is_urgent and not operation.state.is_over else ""
        click.echo(f"{operation.number} {_title(operation)}{costs}", err=True)
    return click.confirm("Forget this?" if len(chosen) == 1 else f"Forget these {len(chosen)}?", err=True)


def _summary(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.number, "kind": operation.kind, "connector": operation.connector, "state": operation.state,
        "subject": _subject(operation), "queued": operation.created, "attempts": operation.attempts,
        "reason": operation.reason, "question": operation.question,
    }  # fmt: skip


def _row(operation: Operation) -> tuple[str, ...]:
    state = click.style(operation.state.value, fg=_COLOURS.get(operation.state))
    why = operation.question or operation.reason or ""
    cells = (str(operation.number), _title(operation), operation.connector, state, ago(operation.created))
    return *cells, str(operation.attempts), why


def _title(operation: Operation) -> str:
    return f"{operation.kind} {_subject(operation)}".rstrip()


def _subject(operation: Operation) -> str:
    """What it is about, in a word."""
    path = operation.payload.get("path")
    return path or operation.stream.partition(":")[2]


def _tell(operation: Operation) -> None:
    if operation.kind in _SMALL and operation.state is State.DONE:
        return
    said = operation.question if operation.state is State.ASKING else operation.result or operation.reason
    state = click.style(operation.state.value, fg=_COLOURS.get(operation.state))
    click.echo(f"{operation.number} {_title(operation)}: {state}{f' ({said})' if said else ''}")
