"""Is it a connector? One finding per fault, each with the method to write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from peft_studio import PlatformConnector, TrainingConnector
from peft_studio.validation import DOCUMENTED, REQUIRED, validate


class MyPlatformConnector(PlatformConnector):
    """Written the way the tutorial does: one class, flags by hand, no verify_connection, cancel_job or credentials."""

    name = "myplatform"
    display_name = "My Platform"
    description = "Runs jobs on my platform"
    version = "1.0.0"
    supports_training = True
    supports_inference = True
    supports_registry = False

    async def connect(self, credentials): ...

    async def disconnect(self) -> None: ...

    async def submit_job(self, config) -> str: ...

    async def get_job_status(self, job_id) -> str: ...

    async def stream_logs(self, job_id):
        yield ""

    async def fetch_artifact(self, job_id) -> bytes: ...

    async def upload_artifact(self, path, metadata) -> str: ...

    async def list_resources(self): ...

    async def get_pricing(self, resource_id): ...


def told(connector: Any) -> list[str]:
    """Everything said about a class."""
    return [f"{finding.severity}: {finding.message}" for finding in validate(connector)]


def changed(**members: Any) -> type:
    """The tutorial's class with members replaced; None takes one away. It has no inference flag, so nothing is odd."""
    own = {name: value for name, value in vars(MyPlatformConnector).items() if not name.startswith("__")}
    own |= {"supports_inference": False, **members}
    return type("Mine", (PlatformConnector,), {name: value for name, value in own.items() if value is not None})


def test_the_tutorial_connector_is_accepted_with_one_warning() -> None:
    """It declares inference without a method for it, which is a promise for later."""
    assert ["warning: MyPlatformConnector sets supports_inference and has no method for it"] == told(
        MyPlatformConnector
    )


def test_a_correct_class_has_nothing_to_be_told() -> None:
    """Without the promise there is nothing to say."""
    assert [] == told(changed())


def test_some_methods_of_a_feature_are_not_enough() -> None:
    """A half-written feature is a fault for each method that lacks."""

    async def deploy_model(self, model_id): ...

    expected = [f"fault: Mine.{name} is missing; supports_inference declares it" for name in REQUIRED["inference"][1:]]

    assert expected == told(changed(supports_inference=True, deploy_model=deploy_model))


def test_a_class_that_does_nothing_is_odd() -> None:
    """It is no fault: a plugin may come before its features."""

    class Idle(PlatformConnector):
        name = display_name = description = version = "idle"

        async def connect(self, credentials): ...

        async def disconnect(self): ...

    assert ["warning: Idle declares no feature, so nothing will ever be asked of it"] == told(Idle)


def test_a_class_of_another_family_needs_the_whole_interface() -> None:
    """It inherits no defaults, so the methods that have some must be written too."""
    members = {name: value for name, value in vars(MyPlatformConnector).items() if not name.startswith("__")}
    members["supports_inference"] = False
    stranger = type("Stranger", (), members)
    missing = ("verify_connection", "get_required_credentials", "validate_config")

    assert [
        f"fault: Stranger.{name} is missing; a class that is no PlatformConnector needs it" for name in missing
    ] == told(stranger)


def test_either_way_to_bring_the_adapter_home_will_do() -> None:
    """download_artifact streams, fetch_artifact is for small ones; one of them is needed."""

    async def download_artifact(self, job_id, destination): ...

    assert [] == told(changed(fetch_artifact=None, download_artifact=download_artifact))
    assert ["fault: Mine.download_artifact is missing; supports_training declares it"] == told(
        changed(fetch_artifact=None)
    )


def test_an_abstract_method_of_ones_own_is_named() -> None:
    """The class could not be made otherwise."""
    from abc import abstractmethod

    class Half(changed()):  # type: ignore[misc]
        @abstractmethod
        async def pause_job(self, job_id): ...

    assert ["fault: Half.pause_job is abstract and not written"] == told(Half)


def test_every_fault_is_told_at_once() -> None:
    """Nobody mends one thing only to be told the next."""
    broken = changed(name=None, version=7, get_pricing=None, supports_tracking="yes", list_resources=lambda _: [])

    assert [
        "fault: Mine.name is missing",
        "fault: Mine.version must be a text, not 7",
        "fault: Mine.supports_tracking must be True or False, not 'yes'",
        "fault: Mine.get_pricing is missing; supports_training declares it",
        "fault: Mine.list_resources is synchronous; it must be async",
    ] == told(broken)


class Written:
    """Ways to write upload_artifact."""

    async def right(self, path, metadata): ...
    async def optional_more(self, path, metadata, resumable=True): ...
    async def by_name_only(self, *, metadata, path): ...
    async def anything(self, *args, **kwargs): ...
    async def other_names(self, file, metadata): ...
    async def other_order(self, metadata, path): ...
    async def one_too_many(self, path, metadata, token): ...
    async def one_too_few(self, path): ...
    async def by_place_only(self, path, metadata, /): ...


@pytest.mark.parametrize(
    "method",
    [Written.right, Written.optional_more, Written.by_name_only, Written.anything],
    ids=lambda method: method.__name__,
)
def test_documented_arguments_are_accepted_by_name(method: Any) -> None:
    """More arguments are fine as long as nobody has to pass them."""
    assert [] == told(changed(upload_artifact=method))


@pytest.mark.parametrize(
    ("method", "found"),
    [
        (Written.other_names, "takes (file, metadata), not (path, metadata)"),
        (Written.one_too_many, "takes (path, metadata, token), not (path, metadata)"),
        (Written.one_too_few, "takes (path), not (path, metadata)"),
        (Written.by_place_only, "takes (path, metadata), not (path, metadata)"),
        (Written.other_order, "takes (metadata, path); the order is (path, metadata)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_arguments_are_refused(method: Any, found: str) -> None:
    """The sentence shows both signatures."""
    assert [f"fault: Mine.upload_artifact {found}"] == told(changed(upload_artifact=method))


def test_decorated_methods_are_seen_through() -> None:
    """A wrapper that keeps the name of what it wraps is judged by what it wraps."""

    def logged(method):
        @wraps(method)
        def call(*args, **kwargs):
            return method(*args, **kwargs)

        return call

    @logged
    async def list_resources(self): ...

    assert [] == told(changed(list_resources=list_resources))


def test_logs_may_come_in_three_ways() -> None:
    """An async generator, a method that returns an async iterator, a coroutine that does."""

    def returns(self, job_id) -> AsyncIterator[str]: ...

    async def awaited(self, job_id): ...

    assert [] == told(changed(stream_logs=returns)) == told(changed(stream_logs=awaited))


def test_what_is_no_method_is_named() -> None:
    """A property or a value in a method's place."""
    assert ["fault: Mine.list_resources is of type property, not a method"] == told(
        changed(list_resources=property(list))
    )
    assert ["fault: Mine.get_pricing is of type int, not a method"] == told(changed(get_pricing=3))


def test_credentials_are_named_without_await() -> None:
    """get_required_credentials is asked before there is a connection."""

    async def get_required_credentials(self): ...

    assert ["fault: Mine.get_required_credentials is async; it is called without await"] == told(
        changed(get_required_credentials=get_required_credentials)
    )


def test_an_answer_in_pieces_where_one_is_due() -> None:
    """An async generator is no coroutine."""

    async def list_resources(self):
        yield 1

    assert ["fault: Mine.list_resources is an async generator; it must return its answer at once"] == told(
        changed(list_resources=list_resources)
    )


def test_static_and_class_methods_count_their_arguments() -> None:
    """They have no self, or one that is bound already."""

    async def get_pricing(resource_id): ...

    async def list_resources(cls): ...

    assert [] == told(changed(get_pricing=staticmethod(get_pricing), list_resources=classmethod(list_resources)))


def test_what_a_flag_requires_is_documented() -> None:
    """The table names only methods of the interface."""
    named = {
        name for row in REQUIRED.values() for names in row for name in ([names] if isinstance(names, str) else names)
    }

    assert set() == named - set(DOCUMENTED)


def test_the_capability_classes_pass_as_they_are_meant_to() -> None:
    """A subclass with every abstract method written has nothing to be told."""

    class Good(TrainingConnector):
        name = display_name = description = version = "good"

        async def connect(self, credentials): ...

        async def disconnect(self): ...

        async def submit_job(self, config): ...

        async def get_job_status(self, job_id): ...

        async def cancel_job(self, job_id): ...

        async def stream_logs(self, job_id):
            yield ""

        async def download_artifact(self, job_id, destination: Path): ...

        async def list_resources(self): ...

        async def get_pricing(self, resource_id): ...

    assert [] == told(Good)


def test_observed_is_read_and_not_called() -> None:
    """A method of that name would never be called, and what it knows never be shown."""
    fault = "fault: Mine.observed is a method; it is read, not called"

    assert [fault] == told(changed(observed=lambda _: None))
    assert [] == told(changed(observed=property(lambda _: None)))
