"""Connecting, and letting go."""

from __future__ import annotations

import asyncio

from peft_studio import ConnectionFailed, InvalidCredentials
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.expect import equal, expect, outcome, refused, shown
from peft_studio_testkit.compliance.probe import nothing_open, probe
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__)


@check()
async def connect_answers_true(subject: Subject) -> None:
    """With good credentials connect answers True."""
    session = subject.session()
    try:
        equal(True, await session.call("connect", credentials=subject.sandbox.credentials()), "the answer of connect")
    finally:
        await session.close()


@check(network=True)
async def connect_asks_the_platform(subject: Subject) -> None:
    """Connect finds out whether the credentials are good, instead of leaving that to the first job."""
    async with subject.connected():
        expect(subject.http.requests, "connect sent no request")


@check(network=True)
async def wrong_credentials_are_refused(subject: Subject) -> None:
    """A key that the platform does not know raises InvalidCredentials."""
    for key in subject.sandbox.secret_keys:
        wrong = {**subject.sandbox.credentials(), key: "wrong-0123456789"}
        session = subject.session(wrong)
        await refused(session.open(), InvalidCredentials, f"connect with a wrong {key}")


@check()
async def missing_credentials_are_refused(subject: Subject) -> None:
    """Without a required key connect raises InvalidCredentials that names it."""
    for key in subject.connector().get_required_credentials():
        partial = {name: value for name, value in subject.sandbox.credentials().items() if name != key}
        session = subject.session(partial)
        error = await refused(
            session.call("connect", credentials=partial), InvalidCredentials, f"connect without {key}"
        )
        await outcome(session.close())
        expect(key in str(error), f"the error without {key} does not name it: {error}")


@check()
async def credentials_stay_as_they_are(subject: Subject) -> None:
    """Connect changes nothing in the mapping that it is given, and accepts keys that it does not know."""
    given = {**subject.sandbox.credentials(), "key_of_another_connector": "x"}
    before = dict(given)
    session = subject.session()
    try:
        await session.call("connect", credentials=given)
    finally:
        await session.close()
    equal(before, given, "the mapping after connect")


@check()
async def verify_connection_is_true(subject: Subject) -> None:
    """While connected, verify_connection answers True."""
    async with subject.connected() as session:
        equal(True, await session.call("verify_connection"), "verify_connection")


@check(network=True)
async def verify_connection_notices_revocation(subject: Subject) -> None:
    """After the key was revoked verify_connection answers False or raises InvalidCredentials."""
    async with subject.connected() as session:
        subject.http.revoke()
        answer = await outcome(session.call("verify_connection"))
        expect(answer is False or isinstance(answer, InvalidCredentials), f"verify_connection gave {shown(answer)}")


@check(network=True)
async def verify_connection_notices_silence(subject: Subject) -> None:
    """When the platform cannot be reached verify_connection answers False or raises ConnectionFailed."""
    async with subject.connected() as session:
        subject.http.faults.add("reset_before", times=None)
        answer = await outcome(session.call("verify_connection"))
        expect(answer is False or isinstance(answer, ConnectionFailed), f"verify_connection gave {shown(answer)}")


@check()
async def disconnect_twice(subject: Subject) -> None:
    """A second disconnect does nothing."""
    async with subject.connected() as session:
        await session.call("disconnect")
        await session.call("disconnect")


@check()
async def disconnect_without_connect(subject: Subject) -> None:
    """Disconnect of an instance that was never connected does nothing."""
    await subject.session().call("disconnect")


@check()
async def connect_twice(subject: Subject) -> None:
    """A second connect on a connected instance works, and one disconnect lets all of it go."""
    async with subject.connected() as session:
        await session.open()
        await probe(subject, session)
    await nothing_open(subject)


@check()
async def connect_again(subject: Subject) -> None:
    """An instance that was disconnected can be connected again."""
    async with subject.connected() as session:
        await probe(subject, session)
        await session.call("disconnect")
        await session.open()
        await probe(subject, session)


@check(network=True)
async def use_after_disconnect(subject: Subject) -> None:
    """A call after disconnect raises ConnectionFailed."""
    session = subject.session()
    await session.open()
    await session.close()
    await refused(probe(subject, session), ConnectionFailed, "a call after disconnect")


@check(network=True)
async def use_before_connect(subject: Subject) -> None:
    """A call before connect raises ConnectionFailed."""
    await refused(probe(subject, subject.session()), ConnectionFailed, "a call before connect")


@check(network=True)
async def disconnect_closes_everything(subject: Subject) -> None:
    """After disconnect no connection to the platform is open."""
    async with subject.connected() as session:
        await probe(subject, session)
    await nothing_open(subject)


@check(network=True)
async def refused_connect_leaves_nothing_open(subject: Subject) -> None:
    """A connect that was refused, and disconnected as the manager does, leaves no connection open."""
    key = subject.sandbox.secret_keys[0]
    session = subject.session({**subject.sandbox.credentials(), key: "wrong-0123456789"})
    await outcome(session.open())
    await outcome(session.close())
    await nothing_open(subject)


@check()
async def instance_survives_its_event_loop(subject: Subject) -> None:
    """An instance that was disconnected can be used in another event loop."""
    async with subject.connected() as session:
        await probe(subject, session)

    async def again() -> None:
        await session.open()
        try:
            await probe(subject, session)
        finally:
            await session.close()

    await asyncio.to_thread(asyncio.run, again())


@check(network=True)
async def instances_share_nothing(subject: Subject) -> None:
    """Two instances with different credentials do not touch each other."""
    async with subject.connected() as session:
        key = subject.sandbox.secret_keys[0]
        other = subject.session({**subject.sandbox.credentials(), key: "wrong-0123456789"})
        await outcome(other.open())
        await outcome(other.close())
        answer = await outcome(probe(subject, session))
        expect(not isinstance(answer, Exception), f"after another instance was refused, this one gave {shown(answer)}")
