"""Starting a job: once, with everything that the user chose, and never again when the answer is lost."""

from __future__ import annotations

from typing import Any

import attrs

from peft_studio import (
    ConnectionFailed,
    InsufficientCreditsError,
    InvalidConfig,
    PlatformError,
    TrainingConfig,
)
from peft_studio.session import Session
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.expect import equal, expect, outcome, refused, shown
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, feature="training")

TAG = "ps-check-0123456789"

#: Other values than the defaults, so that one that is dropped shows.
_CHOSEN = {
    "rank": 24,
    "alpha": 40.0,
    "dropout": 0.125,
    "learning_rate": 3e-4,
    "weight_decay": 0.25,
    "batch_size": 2,
    "gradient_accumulation_steps": 3,
    "max_steps": 5,
    "num_epochs": 2,
    "warmup_steps": 1,
    "max_seq_length": 640,
    "seed": 1234,
}


async def submit(subject: Subject, session: Session, **changes: Any) -> str:
    """Submit a job that the platform accepts, and bring to it what it needs, as the manager does; its id."""
    config = subject.sandbox.training_config(**changes)
    id = str(await session.ask("submit_job", str, config=config))
    await feed(session, id, config)
    return id


async def feed(session: Session, id: str, config: TrainingConfig) -> None:
    """Bring to a job what it needs to begin, where the platform cannot."""
    if session.offers("feed_job"):
        await session.call("feed_job", job_id=id, config=config)


@check()
async def submit_answers_the_id(subject: Subject) -> None:
    """submit_job answers the platform's id of the job, as a text."""
    async with subject.connected() as session:
        answer = await session.call("submit_job", config=subject.sandbox.training_config())
    expect(isinstance(answer, str) and answer in subject.sandbox.jobs, f"submit_job answered {shown(answer)}")


@check()
async def submit_creates_one_job(subject: Subject) -> None:
    """One submission is one job."""
    async with subject.connected() as session:
        await submit(subject, session)
    equal(1, len(subject.sandbox.jobs), "the number of jobs after one submission")


@check()
async def submissions_are_different_jobs(subject: Subject) -> None:
    """Two submissions of one config are two jobs with two ids."""
    async with subject.connected() as session:
        ids = [await submit(subject, session, tag=f"{TAG}-{number}") for number in range(2)]
    equal(2, len(set(ids)), "the number of ids of two submissions")


@check()
async def accepted_config_is_accepted(subject: Subject) -> None:
    """validate_config has nothing to say about a config that the platform takes."""
    async with subject.connected() as session:
        await session.validate(subject.sandbox.training_config())


@check()
async def unknown_resource_is_refused(subject: Subject) -> None:
    """A job on a resource that does not exist is refused, by validate_config or by submit_job; nothing is created."""
    async with subject.connected() as session:
        config = subject.sandbox.training_config(resource_id="no-such-resource")

        async def all_of_it() -> None:
            await session.validate(config)
            await session.call("submit_job", config=config)

        await refused(all_of_it(), (InvalidConfig, PlatformError), "a job on a resource that does not exist")
    equal(0, len(subject.sandbox.jobs), "the number of jobs")


@check()
async def tag_reaches_the_platform(subject: Subject) -> None:
    """What is created carries config.tag, so that it can be found again."""
    async with subject.connected() as session:
        id = await submit(subject, session, tag=TAG)
    equal(TAG, subject.sandbox.jobs[id].tag, "the tag of the job at the platform")


@check()
async def settings_are_honoured_or_refused(subject: Subject) -> None:
    """Each setting either arrives at the platform as the user chose it, or validate_config refuses it by name."""
    config = subject.sandbox.training_config(**_CHOSEN)
    async with subject.connected() as session:
        refused_fields = await _refused_fields(session, config)
        kept = {field: value for field, value in _CHOSEN.items() if field not in refused_fields}
        id = await submit(subject, session, **kept)
    arrived = subject.sandbox.jobs[id].received
    for field, value in kept.items():
        expect(field in arrived, f"{field} did not reach the platform, and validate_config did not refuse it")
        equal(value, arrived[field], f"{field} at the platform")


@check()
async def unicode_reaches_the_platform(subject: Subject) -> None:
    """Texts keep their letters on the way to the platform."""
    async with subject.connected() as session:
        id = await submit(subject, session, project_name="Grüße-世界")
    equal("Grüße-世界", subject.sandbox.jobs[id].received.get("project_name"), "project_name at the platform")


@check(network=True)
async def lost_answer_is_not_repeated(subject: Subject) -> None:
    """When the connection breaks after the job was created, submit_job raises ConnectionFailed; one job."""
    await _unknown(subject, "reset_after", created=1)


@check(network=True)
async def missing_answer_is_not_repeated(subject: Subject) -> None:
    """When the platform creates the job and never answers, submit_job raises ConnectionFailed; one job."""
    with subject.environment(PEFT_STUDIO_HTTP_TIMEOUT="0.5"):
        await _unknown(subject, "timeout", created=1, commit=True)


@check(network=True)
async def broken_submission_is_not_repeated(subject: Subject) -> None:
    """When the connection breaks before an answer, nobody knows: it is asked once, and raises ConnectionFailed."""
    await _unknown(subject, "reset_before", created=0)


@check(network=True)
async def failing_server_is_no_refusal(subject: Subject) -> None:
    """A 500 answer to a submission leaves open whether there is a job: asked once, and ConnectionFailed."""
    await _unknown(subject, "status", created=0, code=500, body=subject.http.error_body("oops"))


@check(network=True)
async def failing_gateway_is_no_refusal(subject: Subject) -> None:
    """A 502 answer to a submission comes from a machine in between: asked once, and ConnectionFailed."""
    await _unknown(subject, "status", created=0, code=502, body="<html>bad gateway</html>")


@check(network=True)
async def garbled_answer_is_no_refusal(subject: Subject) -> None:
    """When the answer to a submission cannot be read the job may exist: asked once, and ConnectionFailed."""
    await _unknown(subject, "garbage", created=1)


@check(network=True)
async def answer_without_an_id_is_no_success(subject: Subject) -> None:
    """An answer to a submission that has no id raises an error; no id is made up."""
    async with subject.connected() as session:
        subject.http.faults.add(
            "shape", body={}, method=subject.http.job_creation[0], path=subject.http.job_creation[1], times=None
        )
        await refused(
            session.call("submit_job", config=subject.sandbox.training_config()),
            (ConnectionFailed, PlatformError),
            "a submission answered without an id",
        )


@check(network=True)
async def refused_payment_creates_nothing(subject: Subject) -> None:
    """402 to a submission is InsufficientCreditsError."""
    await _refusal(subject, 402, InsufficientCreditsError)


@check(network=True)
async def refused_config_says_why(subject: Subject) -> None:
    """400 and 422 to a submission are InvalidConfig or PlatformError with the platform's words."""
    for code in (400, 422):
        error = await _refusal(subject, code, (InvalidConfig, PlatformError))
        expect("rank must be at most 8" in str(error), f"the error does not have the platform's words: {error}")


@check(offers=("find_job",))
async def job_is_found_by_its_tag(subject: Subject) -> None:
    """find_job finds what was submitted with a tag."""
    async with subject.connected() as session:
        id = await submit(subject, session, tag=TAG)
        equal(id, await session.call("find_job", tag=TAG), "find_job")


@check(offers=("find_job",))
async def unknown_tag_finds_nothing(subject: Subject) -> None:
    """find_job answers None for a tag that the platform does not know, also for the beginning of one that it does."""
    async with subject.connected() as session:
        await submit(subject, session, tag=TAG)
        equal(None, await session.call("find_job", tag=TAG[:-1]), "find_job of an unknown tag")


@check(offers=("find_job",), network=True)
async def lost_job_is_found(subject: Subject) -> None:
    """A job whose submission was not answered is found by its tag, also by an instance that knows nothing of it."""
    method, path = subject.http.job_creation
    async with subject.connected() as session:
        subject.http.faults.add("reset_after", method=method, path=path)
        await outcome(session.call("submit_job", config=subject.sandbox.training_config(tag=TAG)))
    async with subject.connected() as session:
        found = await session.call("find_job", tag=TAG)
    expect(found in subject.sandbox.jobs, f"find_job after a lost answer gave {shown(found)}")


@check(offers=("find_job",), network=True)
async def job_is_found_among_many(subject: Subject) -> None:
    """find_job finds a job that is not on the platform's first page, whether that begins with old or with new ones."""
    async with subject.connected() as session:
        for number in range(150):
            subject.sandbox.jobs.add(tag=f"ps-older-{number}")
        id = await submit(subject, session, tag=TAG)
        for number in range(150):
            subject.sandbox.jobs.add(tag=f"ps-newer-{number}")
        equal(id, await session.call("find_job", tag=TAG), "find_job among 301 jobs")


@check(offers=("find_job",), network=True)
async def search_that_fails_is_not_none(subject: Subject) -> None:
    """When the platform cannot be asked find_job raises; None would say that there is no job."""
    async with subject.connected() as session:
        subject.http.faults.add("status", code=503, body=subject.http.error_body("maintenance"), times=None)
        await refused(session.call("find_job", tag=TAG), ConnectionFailed, "find_job while the platform is down")


async def _unknown(subject: Subject, fault: str, *, created: int, **how: Any) -> None:
    """Submit while the creating request has this fault: an error that leaves it open, and one request."""
    method, path = subject.http.job_creation
    async with subject.connected() as session:
        subject.http.faults.add(fault, method=method, path=path, times=None, **how)
        config = subject.sandbox.training_config(tag=TAG)
        await refused(session.call("submit_job", config=config), ConnectionFailed, f"a submission with {fault}")
        subject.http.faults.clear()
    equal(1, subject.http.count(method, path), "the number of requests that create a job")
    equal(created, len(subject.sandbox.jobs), "the number of jobs")


async def _refusal(subject: Subject, code: int, kinds: Any) -> Any:
    method, path = subject.http.job_creation
    async with subject.connected() as session:
        body = subject.http.error_body("rank must be at most 8")
        subject.http.faults.add("status", code=code, body=body, method=method, path=path, times=None)
        config = subject.sandbox.training_config(tag=TAG)
        error = await refused(session.call("submit_job", config=config), kinds, f"a submission answered with {code}")
        subject.http.faults.clear()
    equal(0, len(subject.sandbox.jobs), "the number of jobs")
    return error


async def _refused_fields(session: Session, config: TrainingConfig) -> set[str]:
    """Fields that validate_config refuses, by name."""
    answer = await outcome(session.validate(config))
    if answer is None:
        return set()
    expect(isinstance(answer, InvalidConfig), f"validate_config gave {shown(answer)}")
    fields = {problem.field for problem in answer.problems}
    expect(fields and fields <= set(attrs.fields_dict(TrainingConfig)), f"it refuses without naming a field: {answer}")
    return {field for field in fields if field}
