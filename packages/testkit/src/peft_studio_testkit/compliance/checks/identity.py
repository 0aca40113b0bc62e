"""What a connector class says of itself, told without connecting."""

from __future__ import annotations

import asyncio
import re

from packaging.version import InvalidVersion, Version

from peft_studio import UnsupportedCapability
from peft_studio.records import FEATURES
from peft_studio.validation import REQUIRED, validate
from peft_studio_testkit.compliance.check import LATEST_LEVEL, group
from peft_studio_testkit.compliance.expect import equal, expect, outcome, shown
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__)


@check()
async def name_is_a_slug(subject: Subject) -> None:
    """The name is lower-case letters and digits in words joined by hyphens: users type it."""
    name = subject.name
    expect(re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name), f"name is {name!r}; write it like runpod or my-cloud")


@check()
async def texts_are_single_lines(subject: Subject) -> None:
    """display_name and description fit into one line of a list, 120 characters at most."""
    for field in ("display_name", "description"):
        text = getattr(subject.connector, field, "")
        expect(
            0 < len(text) <= 120 and text.isprintable(), f"{field} is {shown(text)}; one line of 1 to 120 characters"
        )


@check()
async def version_can_be_compared(subject: Subject) -> None:
    """The version is one that pip understands (PEP 440)."""
    version = str(getattr(subject.connector, "version", None))
    try:
        Version(version)
    except InvalidVersion:
        expect(False, f"version is {version!r}, which is no version (PEP 440); write it like 1.2.0")


@check()
async def structure_is_whole(subject: Subject) -> None:
    """What the flags declare is there, async where it must be, with the documented arguments."""
    faults = [finding for finding in validate(subject.connector) if finding.is_fault]
    expect(not faults, "; ".join(str(finding) for finding in faults))


@check()
async def flags_keep_their_word(subject: Subject) -> None:
    """No flag is set for something that the class has no method for."""
    warnings = [finding for finding in validate(subject.connector) if not finding.is_fault]
    expect(not warnings, "; ".join(str(finding) for finding in warnings))


@check()
async def class_says_what_it_is(subject: Subject) -> None:
    """The class has a docstring of its own: help() and editors show it."""
    expect((vars(subject.connector).get("__doc__") or "").strip(), f"{subject.connector.__name__} has no docstring")


@check()
async def making_one_does_nothing(subject: Subject) -> None:
    """An instance can be made anywhere, without an event loop too, asks nobody, and needs no disconnect."""
    await asyncio.to_thread(subject.connector)
    if subject.is_remote:
        equal(0, len(subject.http.requests), "the number of requests while an instance is made")


@check()
async def required_credentials_are_keys(subject: Subject) -> None:
    """get_required_credentials gives a list of texts, a fresh one each time, before anything is connected."""
    connector = subject.connector()
    keys = connector.get_required_credentials()
    expect(isinstance(keys, list), f"get_required_credentials answered {shown(keys)}, not a list")
    expect(all(keys) and {type(key) for key in keys} <= {str}, f"get_required_credentials has {shown(keys)}")
    keys.append("changed by the caller")
    is_shared = "changed by the caller" in connector.get_required_credentials()
    keys.remove("changed by the caller")
    expect(not is_shared, "its list is shared with the caller")


@check()
async def undeclared_features_are_refused(subject: Subject) -> None:
    """Every method of a feature that is not declared raises UnsupportedCapability, and nothing else."""
    session = subject.session({})
    wanted = {name for feature in subject.features for names in REQUIRED[feature] for name in _each(names)}
    for feature in FEATURES:
        for name in (name for names in REQUIRED[feature] for name in _each(names)):
            if feature in subject.features or name in wanted or name in ("stream_logs", "get_metrics"):
                continue
            if name == "upload_artifact" and subject.has(name):  # the interface documents it for platforms that train
                continue
            answer = await outcome(session.call(name, **_arguments(name)))
            refuses = isinstance(answer, UnsupportedCapability)
            expect(refuses, f"{name} gave {shown(answer)}; {feature} is not declared, so it must be refused")


@check()
async def level_is_known(subject: Subject) -> None:
    """The sandbox pins a level that exists, and gives a reason for each failure that it expects."""
    level = subject.sandbox.level
    expect(1 <= level <= LATEST_LEVEL, f"level is {level}; the levels are 1 to {LATEST_LEVEL}")
    empty = [id for id, reason in subject.sandbox.expected_failures.items() if len(reason.split()) < 3]
    expect(not empty, f"expected_failures gives no reason for {', '.join(empty)}")


def _each(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _arguments(method: str) -> dict[str, object]:
    """Arguments of the documented names; a method that refuses looks at none of them."""
    from inspect import signature

    from peft_studio import PlatformConnector

    parameters = list(signature(getattr(PlatformConnector, method)).parameters.values())[1:]
    return {p.name: None for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
