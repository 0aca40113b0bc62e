"""`peft-studio reconcile`: what lives on each account, whose it is, what it costs; and the end of what is orphaned."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from peft_studio.cli.connectors import complete_name
from peft_studio.cli.desk import Desk
from peft_studio.cli.output import ago, json_option, print_json, print_table
from peft_studio.errors import PlatformError
from peft_studio.ledger import Ledger
from peft_studio.reconcile import Account, Ended, Living, Reconciler, Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLOURS = {Standing.RUNNING: "cyan", Standing.ORPHANED: "red", Standing.FOREIGN: "white"}


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_name)
@click.option("--destroy", is_flag=True, help="End what is ours and belongs to no job that goes on.")
@click.option("--yes", is_flag=True, help="Do not ask before that.")
@json_option
def reconcile(names: tuple[str, ...], destroy: bool, yes: bool, as_json: bool) -> int:
    """What lives on each account, to which job it belongs, and what it costs.

    Submissions and cancellations whose answer was lost are settled first. Without NAME these are the connectors that
    the ledger has jobs of, and those whose credentials are set. What is not in this ledger is foreign: it is listed,
    and never touched, also when its name begins with ps-.
    """
    if destroy and as_json and not yes:
        raise click.UsageError("--json asks nothing: add --yes to --destroy")
    with Ledger() as ledger:
        accounts = asyncio.run(_reconcile(Desk(ledger), names))
        if not as_json:
            _tell(accounts)
        if destroy and (yes or _agreed(accounts)):
            accounts = asyncio.run(_destroy(Desk(ledger), accounts))
            if not as_json:
                _tell_ended(accounts)
    if as_json:
        print_json([_document(account) for account in accounts])
    return _exit_code(accounts)


async def _reconcile(desk: Desk, names: Sequence[str]) -> list[Account]:
    async with desk.manager() as manager:
        return await Reconciler(manager, desk.ledger).reconcile(names or None)


async def _destroy(desk: Desk, accounts: list[Account]) -> list[Account]:
    async with desk.manager() as manager:
        reconciler = Reconciler(manager, desk.ledger)
        for account in accounts:
            if account.orphans:
                await manager.connect(account.connector)
        return [await reconciler.destroy(account) if account.orphans else account for account in accounts]


def _agreed(accounts: Sequence[Account]) -> bool:
    orphans = [each for account in accounts for each in account.orphans]
    if not orphans:
        click.echo("nothing is orphaned", err=True)
        return False
    names = ", ".join(each.rental.id for each in orphans)
    return click.confirm(f"end {names} for good?", err=True)


def _exit_code(accounts: Sequence[Account]) -> int:
    errors = [account.error.exit_code for account in accounts if account.error is not None]
    left = any(not each.is_gone for account in accounts for each in account.ended)
    return errors[0] if errors else PlatformError.exit_code if left else 0


# For people.


def _tell(accounts: Sequence[Account]) -> None:
    rows = [_row(account, each) for account in accounts for each in account.living or ()]
    if rows:
        print_table(("CONNECTOR", "ID", "KIND", "STATUS", "SINCE", "JOB", "STANDING", "PER DAY"), rows)
    for account in accounts:
        click.echo(f"{account.connector}: {_summary(account)}", err=True)
        for message in _messages(account):
            click.echo(f"  {message}", err=True)


def _row(account: Account, each: Living) -> tuple[str, ...]:
    rental = each.rental
    return (
        account.connector, rental.id, rental.kind, rental.status,
        "-" if rental.created is None else ago(rental.created),
        each.job or rental.tag or "-", click.style(each.standing.value, fg=_COLOURS[each.standing]),
        _money(each.daily_cost, rental.currency),
    )  # fmt: skip


def _summary(account: Account) -> str:
    if account.error is not None:
        return str(account.error)
    if account.living is None:
        return "this connector cannot list what is alive"
    if not account.living:
        return "nothing is alive"
    counts = [
        f"{count} {standing}"
        for standing in Standing
        if (count := sum(each.standing is standing for each in account.living))
    ]
    costs = [f"{_money(amount, currency)} per day" for currency, amount in sorted(account.daily_costs.items())]
    unknown = sum(each.daily_cost is None for each in account.living)
    return ", ".join([*counts, *costs, *([f"{unknown} without a known price"] if unknown else [])])


def _messages(account: Account) -> list[str]:
    known = {
        "found at the platform": account.adopted,
        "never reached the platform": account.denied,
        "stopped": account.stopped,
    }
    return [*(f"{what}: {', '.join(jobs)}" for what, jobs in known.items() if jobs), *account.messages]


def _tell_ended(accounts: Sequence[Account]) -> None:
    for each in (ended for account in accounts for ended in account.ended):
        click.echo(f"{each.rental_id} {'is gone' if each.is_gone else 'is not gone yet: run reconcile again'}")
        if each.saved is not None:
            click.echo(f"  its adapter: {each.saved}")
        for problem in each.problems:
            click.echo(f"  {problem}", err=True)


def _money(amount: Decimal | None, currency: str) -> str:
    return "-" if amount is None else f"{amount:.2f} {currency}"


# For programs.


def _document(account: Account) -> dict[str, Any]:
    return {
        "connector": account.connector,
        "error": None if account.error is None else str(account.error),
        "living": None if account.living is None else [_living_document(each) for each in account.living],
        "daily_costs": dict(account.daily_costs),
        "adopted": account.adopted,
        "denied": account.denied,
        "stopped": account.stopped,
        "ended": [_ended_document(each) for each in account.ended],
        "messages": account.messages,
    }


def _living_document(each: Living) -> dict[str, Any]:
    rental = each.rental
    return {
        "id": rental.id,
        "name": rental.name,
        "tag": rental.tag,
        "kind": rental.kind,
        "status": rental.status,
        "created": rental.created,
        "job": each.job,
        "standing": each.standing,
        "hourly_rate": rental.hourly_rate,
        "daily_cost": each.daily_cost,
        "currency": rental.currency,
    }


def _ended_document(each: Ended) -> dict[str, Any]:
    return {"id": each.rental_id, "is_gone": each.is_gone, "saved": each.saved, "problems": each.problems}
