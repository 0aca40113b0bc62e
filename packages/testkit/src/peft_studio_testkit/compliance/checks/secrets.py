"""Where a credential must never show up."""

from __future__ import annotations

import io
import logging
import re
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from peft_studio import ConnectorManager, ConnectorRegistry, Ledger, PeftStudioError
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.checks.artifacts import contents
from peft_studio_testkit.compliance.checks.submission import TAG, submit
from peft_studio_testkit.compliance.expect import expect, outcome
from peft_studio_testkit.compliance.probe import probe
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, network=True)


@check()
async def secret_is_not_in_repr(subject: Subject) -> None:
    """Repr and str of a connected instance do not show it."""
    async with subject.connected() as session:
        _hidden(subject, f"{session.connector!r} {session.connector}", "repr of the instance")


@check()
async def secret_is_not_logged(subject: Subject) -> None:
    """No log record has it, at DEBUG, from whatever library, when all goes well and when it does not."""
    with _logged() as text:
        await _good_and_bad(subject)
    _hidden(subject, text.getvalue(), "the log")


@check()
async def secret_is_not_printed(subject: Subject) -> None:
    """Nothing that is written to stdout or stderr has it."""
    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(text):
        await _good_and_bad(subject)
    _hidden(subject, text.getvalue(), "what was printed")


@check()
async def secret_is_not_in_errors(subject: Subject) -> None:
    """No error has it, even when the platform repeats it in its answer: neither text, notes nor causes."""
    for error in await _errors(subject):
        _hidden(subject, "".join(traceback.format_exception(error)), "a traceback")
        _hidden(subject, f"{error!r} {error} {error.why} {error.remedy} {error.args}", "an error")


@check()
async def secret_is_not_in_addresses(subject: Subject) -> None:
    """No address has it: addresses end up in the logs of proxies and servers."""
    await _good_and_bad(subject)
    for request in subject.http.requests:
        _hidden(subject, f"{request.path} {request.query}", f"the address of {request.method} {request.path}")


@check()
async def secret_stays_with_the_platform(subject: Subject) -> None:
    """When the platform's answer leads to another origin, the secret does not go there."""
    async with subject.connected() as session:
        subject.http.faults.add("redirect", times=None)
        await outcome(probe(subject, session))
    for request in subject.http.other_requests:
        _hidden(subject, f"{request.query} {request.headers} {request.body!r}", "a request to another origin")


@check(feature="training")
async def secret_is_not_in_the_ledger(subject: Subject) -> None:
    """What is written to the disk about a job does not have it, whether the submission went well or not.

    The ledger keeps what the error of a submission says, so that is looked at before anybody masks it too.
    """
    await _submission_that_repeats(subject)
    with tempfile.TemporaryDirectory() as folder:
        registry = ConnectorRegistry([], extra=[subject.connector])
        with Ledger(Path(folder) / "ledger.sqlite") as ledger:
            async with ConnectorManager(registry, ledger=ledger) as manager:
                await manager.connect(subject.name, subject.sandbox.credentials())
                config = subject.sandbox.training_config()
                await outcome(manager.submit_job(subject.name, config))
                _repeat_the_secret(subject)
                await outcome(manager.submit_job(subject.name, config))
        for name, data in contents(Path(folder)).items():
            _hidden(subject, data.decode("utf-8", "replace"), name)


@check(feature="training")
async def secret_is_not_in_the_job(subject: Subject) -> None:
    """Nothing that a job is made of has it: a platform shows that to whoever may see the job."""
    method, path = subject.http.job_creation
    async with subject.connected() as session:
        await submit(subject, session, tag=TAG)
    for request in subject.http.requests:
        if request.method == method and re.search(path, request.path):
            _hidden(subject, request.body.decode("utf-8", "replace"), f"the body of {method} {request.path}")


async def _submission_that_repeats(subject: Subject) -> None:
    async with subject.connected() as session:
        _repeat_the_secret(subject)
        answer = await outcome(session.call("submit_job", config=subject.sandbox.training_config()))
        subject.http.faults.clear()
    _hidden(subject, f"{answer!r} {answer}", "the error of a submission")


async def _good_and_bad(subject: Subject) -> None:
    async with subject.connected() as session:
        await probe(subject, session)
    await _errors(subject)


async def _errors(subject: Subject) -> list[PeftStudioError]:
    """Errors of a refusal that repeats the secret, of a server that fails so, and of a lost connection."""
    errors = []
    async with subject.connected() as session:
        for kind in ("refused", "failed", "lost"):
            if kind == "lost":
                subject.http.faults.add("reset_before", times=None)
            else:
                _repeat_the_secret(subject, 401 if kind == "refused" else 500)
            errors.append(await outcome(probe(subject, session)))
            subject.http.faults.clear()
    return [error for error in errors if isinstance(error, PeftStudioError)]


def _repeat_the_secret(subject: Subject, status: int = 401) -> None:
    words = f"key {' '.join(subject.secrets)} is not known"
    subject.http.faults.add("status", code=status, body=subject.http.error_body(words), times=None)


def _hidden(subject: Subject, text: str, place: str) -> None:
    expect(not any(secret in text for secret in subject.secrets), f"the secret is in {place}")


@contextmanager
def _logged() -> Iterator[io.StringIO]:
    """Everything that is logged meanwhile, by anybody."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    levels = {logger: logger.level for logger in [root, *_loggers()]}
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    try:
        yield text
    finally:
        root.removeHandler(handler)
        for logger, level in levels.items():
            logger.setLevel(level)


def _loggers() -> list[logging.Logger]:
    return [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
