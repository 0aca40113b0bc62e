"""What lives on the account: listed to the last page, ended for good, and never taken for nothing when nobody knows."""

from __future__ import annotations

import re
from decimal import Decimal

from peft_studio import ConnectionFailed, JobStatus, Rental
from peft_studio.session import Session
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.checks.submission import TAG, submit
from peft_studio_testkit.compliance.expect import equal, expect, refused, shown
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, feature="training")


@check(offers=("list_rentals",))
async def rentals_are_listed(subject: Subject) -> None:
    """list_rentals has what was submitted, under its tag, with its price where get_pricing knows one."""
    async with subject.connected() as session:
        resource, price = await _priced_resource(session)
        await submit(subject, session, tag=TAG, resource_id=resource)
        rentals = await _rentals(session)
    found = [rental for rental in rentals if rental.tag == TAG]
    expect(found, f"nothing with the tag of the submission is listed: {shown(rentals)}")
    for rental in found:
        expect(rental.id and rental.status, f"a rental has no id or no status: {shown(rental)}")
        expect(re.fullmatch("[A-Z]{3}", rental.currency), f"the currency of {rental.id} is {rental.currency!r}")
    rates = [rental.hourly_rate for rental in found if rental.hourly_rate is not None]
    expect(price is None or rates, f"no price is listed, though {resource} costs {price} an hour")
    expect(all(rate.is_finite() and rate >= 0 for rate in rates), f"the prices are {shown(rates)}")


@check(offers=("list_rentals",))
async def rentals_are_unique(subject: Subject) -> None:
    """Each rental is listed once."""
    async with subject.connected() as session:
        for number in range(3):
            await submit(subject, session, tag=f"{TAG}-{number}")
        ids = [rental.id for rental in await _rentals(session)]
    equal(len(set(ids)), len(ids), "the number of different ids")


@check(offers=("list_rentals",), network=True)
async def every_rental_is_listed(subject: Subject) -> None:
    """list_rentals has everything that is alive, also what is not on the platform's first page, whoever made it."""
    tags = {f"ps-many-{number}" for number in range(150)}
    for tag in sorted(tags):
        subject.sandbox.jobs.add(tag=tag, status=JobStatus.RUNNING)
    subject.sandbox.jobs.add(id="nobodys", status=JobStatus.RUNNING)
    async with subject.connected() as session:
        rentals = await _rentals(session)
    missing = tags - {str(rental.tag) for rental in rentals}
    expect(not missing, f"{len(missing)} of 150 jobs that run are not listed")
    expect(any(rental.tag is None for rental in rentals), "a job that runs without a tag is not listed")


@check(offers=("list_rentals",))
async def what_is_over_is_no_rental(subject: Subject) -> None:
    """What has ended is not listed; what waits or is paused is, for it may cost."""
    for status in JobStatus:
        subject.sandbox.jobs.add(tag=f"ps-{status}", status=status)
    async with subject.connected() as session:
        tags = {rental.tag for rental in await _rentals(session)}
    equal({"ps-pending", "ps-running", "ps-paused"}, tags, "the set of tags that are listed")


@check(offers=("list_rentals", "end_rental"))
async def ended_rental_is_gone(subject: Subject) -> None:
    """end_rental ends what it is asked for and nothing else, answers True, and does so again when it is asked again."""
    other = subject.sandbox.jobs.add(tag="ps-other", status=JobStatus.RUNNING)
    async with subject.connected() as session:
        id = await submit(subject, session, tag=TAG)
        for rental in [each for each in await _rentals(session) if each.tag == TAG]:
            for time in ("first", "second"):
                answer = await session.call("end_rental", rental_id=rental.id)
                expect(answer is True, f"end_rental answered {shown(answer)} the {time} time")
        tags = {rental.tag for rental in await _rentals(session)}
    expect(subject.sandbox.jobs[id].status.is_terminal, f"the job is {subject.sandbox.jobs[id].status} at the platform")
    equal({"ps-other"}, tags, "the set of tags that are listed afterwards")
    equal(JobStatus.RUNNING, other.status, "the status of the job that nobody ended")


@check(offers=("list_rentals", "end_rental"))
async def unknown_rental_is_gone(subject: Subject) -> None:
    """end_rental of an id that the platform does not list answers True and ends nothing."""
    other = subject.sandbox.jobs.add(tag="ps-other", status=JobStatus.RUNNING)
    async with subject.connected() as session:
        answer = await session.call("end_rental", rental_id="no-such-rental")
    expect(answer is True, f"end_rental of an unknown id answered {shown(answer)}")
    equal(JobStatus.RUNNING, other.status, "the status of the job that nobody ended")


@check(offers=("list_rentals", "end_rental"))
async def promised_end_is_no_end(subject: Subject) -> None:
    """When the platform agrees to end something, yet goes on listing it, end_rental answers False or raises."""
    job = subject.sandbox.jobs.add(tag=TAG, status=JobStatus.RUNNING)
    job.cancel = lambda: True  # type: ignore[method-assign]  # a platform that agrees and does nothing
    async with subject.connected() as session:
        rental = next((each for each in await _rentals(session) if each.tag == TAG), None)
        expect(rental is not None, "a job that runs is not listed")
        assert rental is not None
        try:
            answer = await session.call("end_rental", rental_id=rental.id)
        except ConnectionFailed:
            answer = False
    expect(answer is False, f"end_rental answered {shown(answer)}, and the platform still lists it")


@check(offers=("list_rentals",), network=True)
async def failed_list_is_not_empty(subject: Subject) -> None:
    """When the platform cannot be asked, for the first page or a later one, list_rentals raises ConnectionFailed."""
    for number in range(150):
        subject.sandbox.jobs.add(tag=f"ps-many-{number}", status=JobStatus.RUNNING)
    for pages in (0, 1):
        async with subject.connected() as session:
            fault = subject.http.faults.add(
                "status", code=503, body=subject.http.error_body("maintenance"), after=pages, times=None
            )
            what = f"list_rentals while the platform is down after {pages} page(s)"
            await refused(session.call("list_rentals"), ConnectionFailed, what)
            subject.http.faults.remove(fault)


async def _rentals(session: Session) -> list[Rental]:
    return await session.ask_list("list_rentals", Rental)


async def _priced_resource(session: Session) -> tuple[str | None, Decimal | None]:
    """A resource that costs something, with its price; (None, None) where nothing does."""
    for resource in await session.ask("list_resources", list):
        price = await session.call("get_pricing", resource_id=resource.id)
        if resource.available is not False and price.hourly_rate:
            return resource.id, price.hourly_rate
    return None, None
