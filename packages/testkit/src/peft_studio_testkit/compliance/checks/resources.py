"""What can be rented, and for how much."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from peft_studio import ConnectionFailed, PeftStudioError, PricingInfo, Resource
from peft_studio.session import Session
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.expect import equal, expect, outcome, raised_by, shown
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, feature="training")


@check()
async def resources_are_resources(subject: Subject) -> None:
    """list_resources answers a list of Resource, at least one here."""
    async with subject.connected() as session:
        answer = await session.call("list_resources")
    whole = isinstance(answer, list) and answer and all(isinstance(each, Resource) for each in answer)
    expect(whole, f"list_resources answered {shown(answer)}")


@check()
async def resource_ids_are_unique(subject: Subject) -> None:
    """Each resource has an id of its own, a text that is not empty."""
    async with subject.connected() as session:
        ids = [each.id for each in await _resources(session)]
    expect(all(ids) and {str} == {type(id) for id in ids}, f"the ids are {shown(ids)}")
    equal(len(set(ids)), len(ids), "the number of different ids")


@check()
async def memory_is_in_gib(subject: Subject) -> None:
    """vram_gb and ram_gb are GiB, or None where the platform does not say; never 0, never MiB."""
    async with subject.connected() as session:
        for each in await _resources(session):
            for field, most in (("vram_gb", 1024), ("ram_gb", 65536)):
                value = getattr(each, field)
                expect(value is None or 0 < value <= most, f"{field} of {each.id} is {value!r}")


@check()
async def gpus_are_counted(subject: Subject) -> None:
    """gpu_count is a number from 0 on; what has a gpu_type has at least one."""
    async with subject.connected() as session:
        for each in await _resources(session):
            least = 1 if each.gpu_type else 0
            expect(
                type(each.gpu_count) is int and each.gpu_count >= least,
                f"gpu_count of {each.id} ({each.gpu_type}) is {each.gpu_count!r}",
            )


@check()
async def every_resource_has_a_price(subject: Subject) -> None:
    """get_pricing answers a PricingInfo for every resource that is listed."""
    async with subject.connected() as session:
        for each in await _resources(session):
            answer = await session.call("get_pricing", resource_id=each.id)
            expect(isinstance(answer, PricingInfo), f"get_pricing of {each.id} answered {shown(answer)}")


@check()
async def prices_are_decimals(subject: Subject) -> None:
    """Money is Decimal, 0 or more, or None where it is unknown; the currency has three letters."""
    async with subject.connected() as session:
        for each, price in await _prices(session):
            for amount in (price.hourly_rate, price.storage_gb_hourly_rate):
                right = amount is None or (isinstance(amount, Decimal) and amount.is_finite() and amount >= 0)
                expect(right, f"the price of {each.id} is {amount!r}")
            expect(re.fullmatch("[A-Z]{3}", price.currency), f"the currency of {each.id} is {price.currency!r}")


@check()
async def billing_is_in_seconds(subject: Subject) -> None:
    """billing_increment is a number of seconds from 1 on, or None; as_of knows its time zone."""
    async with subject.connected() as session:
        for each, price in await _prices(session):
            step = price.billing_increment
            expect(step is None or (isinstance(step, int) and step >= 1), f"billing_increment of {each.id} is {step!r}")
            aware = price.as_of is None or (isinstance(price.as_of, datetime) and price.as_of.tzinfo is not None)
            expect(aware, f"as_of of {each.id} is {price.as_of!r}, without a time zone")


@check()
async def unknown_resource_has_no_price(subject: Subject) -> None:
    """get_pricing of a resource that does not exist raises an error of ours; there is no default price."""
    async with subject.connected() as session:
        error = await raised_by(session.call("get_pricing", resource_id="no-such-resource"), "the price of nothing")
    expect(not isinstance(error, ConnectionFailed), f"the platform was reached, yet it raised {error!r}")
    expect(isinstance(error, PeftStudioError), f"it raised {error!r}")


async def _resources(session: Session) -> list[Resource]:
    found: list[Resource] = await session.ask("list_resources", list)
    return found


async def _prices(session: Session) -> list[tuple[Resource, Any]]:
    """Every price that there is; where one is missing every-resource-has-a-price says so."""
    answers = [
        (each, await outcome(session.call("get_pricing", resource_id=each.id))) for each in await _resources(session)
    ]
    return [(each, answer) for each, answer in answers if isinstance(answer, PricingInfo)]
