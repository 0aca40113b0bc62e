"""The queue's file against a model of a few lines: whatever happens in whatever order, both say the same."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from peft_studio import InvalidConfig
from peft_studio.queue import Again, Ask, Dead, Done, NewOperation, OperationNotFound, Queue, State
from peft_studio.queue.store import MEMORY

from .queue_clock import Clock

LEASE = 60.0
OPEN = (State.WAITING, State.RUNNING, State.ASKING)
CONNECTORS = st.sampled_from(["acme", "other"])
KEYS = st.sampled_from([f"key {number}" for number in range(8)])
OUTCOMES = st.one_of(
    st.builds(Done, st.sampled_from([None, "id-1"])),
    st.builds(Again, st.just("again"), st.sampled_from([0.0, 5.0, 100.0]), st.booleans(), st.booleans()),
    st.builds(Ask, st.just("really?"), st.just({"accepted": True})),
    st.builds(Dead, st.just("no")),
)


@define
class Model:
    """One operation, as it should be."""

    number: int
    new: NewOperation
    state: State
    not_before: float
    expires: float | None
    attempts: int = 0
    failures: int = 0
    is_doubtful: bool = False
    is_accepted: bool = False
    leased_until: float = 0.0
    finished: float | None = None

    def facts(self) -> tuple[Any, ...]:
        return self.number, self.new.key, self.state, self.attempts, self.failures, self.is_doubtful


@define
class World:
    """All operations, and the rules."""

    clock: Clock
    operations: list[Model] = field(factory=list)
    pauses: dict[str, float] = field(factory=dict)

    def sweep(self) -> None:
        for each in self.operations:
            if each.state is State.RUNNING and each.leased_until < self.clock.now:
                each.state, each.is_doubtful = State.WAITING, True
            is_late = each.expires is not None and each.expires <= self.clock.now
            if each.state in (State.WAITING, State.ASKING) and is_late:
                each.state, each.finished = State.DEAD, self.clock.now

    def forget(self) -> None:
        def is_old(each: Model) -> bool:
            return each.finished is not None and each.finished < self.clock.now - MEMORY

        streams = {(each.new.connector, each.new.stream) for each in self.operations if not is_old(each)}
        self.operations = [
            each
            for each in self.operations
            if each.state is not State.DONE or not is_old(each) or (each.new.connector, each.new.stream) in streams
        ]

    def next(self, connector: str) -> Model | None:
        theirs = [each for each in self.operations if each.new.connector == connector and each.state in OPEN]
        heads = {each.new.stream: each for each in reversed(theirs)}.values()
        ready = [each for each in heads if each.state is State.WAITING and each.not_before <= self.clock.now]
        return min(ready, key=lambda each: (not each.new.is_urgent, each.number), default=None)


class QueueMachine(RuleBasedStateMachine):
    """Two processes on one file."""

    def __init__(self) -> None:
        super().__init__()
        # In memory where that can be had: what is tested here is not whether the disk keeps it.
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.clock = Clock()
        self.world = World(self.clock)
        self.claims: list[tuple[Queue, Any]] = []

    @initialize()
    def open(self) -> None:
        path = Path(self.folder.name) / "queue.sqlite3"
        self.queues = [Queue(path, clock=self.clock, lease=LEASE, known_secrets=list) for _ in range(2)]

    def teardown(self) -> None:
        for queue in self.queues:
            queue.close()
        self.folder.cleanup()

    @rule(
        connector=CONNECTORS, key=KEYS, stream=st.sampled_from(["a", "b"]), urgent=st.booleans(), once=st.booleans(),
        lifetime=st.sampled_from([None, 50.0, 1000.0]), number=st.integers(0, 1),
    )  # fmt: skip
    def enqueue(self, connector, key, stream, urgent, once, lifetime, number) -> None:
        new = NewOperation(
            kind="touch", connector=connector, key=key, stream=stream, is_urgent=urgent, is_once=once, lifetime=lifetime
        )
        there = next(
            (each for each in self.world.operations if (each.new.connector, each.new.key) == (connector, key)), None
        )
        answer = self.queues[number].enqueue(new)
        if there is not None and (once or there.state in OPEN):
            assert there.number == answer.number
            return
        if there is not None:
            self.world.operations.remove(there)
        expires = None if lifetime is None else self.clock.now + lifetime
        self.world.operations.append(Model(answer.number, new, State.WAITING, self.clock.now, expires))

    @rule(connector=CONNECTORS, number=st.integers(0, 1))
    def claim(self, connector, number) -> None:
        self.world.sweep()
        expected = self.world.next(connector)
        claimed = self.queues[number].claim(connector, ["touch"])
        assert (None if expected is None else expected.number) == (None if claimed is None else claimed.number)
        if expected is None or claimed is None:
            return
        assert (expected.is_doubtful, expected.is_accepted) == (
            claimed.is_doubtful, claimed.payload.get("accepted", False),
        )  # fmt: skip
        self._begin(expected)
        self.claims.append((self.queues[number], claimed))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), outcome=OUTCOMES)
    def settle(self, data, outcome) -> None:
        queue, claimed = data.draw(st.sampled_from(self.claims))
        mine = self._mine(claimed)
        assert (mine is not None) == queue.settle(claimed, outcome)
        if mine is not None:
            self._end(mine, outcome)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), outcome=OUTCOMES)
    def settle_and_claim(self, data, outcome) -> None:
        queue, claimed = data.draw(st.sampled_from(self.claims))
        mine = self._mine(claimed)
        if mine is not None:
            self._end(mine, outcome)
        self.world.sweep()
        expected = self.world.next(claimed.connector)
        following = queue.settle_and_claim(claimed, outcome, ["touch"])
        assert (None if expected is None else expected.number) == (None if following is None else following.number)
        if expected is not None and following is not None:
            self._begin(expected)
            self.claims.append((queue, following))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def renew(self, data) -> None:
        queue, claimed = data.draw(st.sampled_from(self.claims))
        mine = self._mine(claimed)
        assert (mine is not None) == queue.renew(claimed)
        if mine is not None:
            mine.leased_until = self.clock.now + LEASE

    @rule(seconds=st.sampled_from([1.0, 10.0, LEASE + 1, 2000.0, MEMORY + 1]))
    def wait(self, seconds) -> None:
        self.clock.advance(seconds)

    @rule(connector=CONNECTORS, seconds=st.sampled_from([5.0, 500.0]))
    def pause(self, connector, seconds) -> None:
        self.queues[0].pause(connector, lambda failures: seconds, "away")  # noqa: ARG005
        self.world.pauses[connector] = self.clock.now + seconds

    @rule(connector=CONNECTORS)
    def hurry(self, connector) -> None:
        self.queues[0].hurry([connector])
        self.world.pauses.pop(connector, None)
        for each in self.world.operations:
            if each.new.connector == connector and each.state is State.WAITING:
                each.not_before = self.clock.now

    @precondition(lambda self: self.world.operations)
    @rule(data=st.data(), what=st.sampled_from(["retry", "drop", "confirm"]))
    def decide(self, data, what) -> None:
        mine = data.draw(st.sampled_from(self.world.operations))
        before = deepcopy(self.world.operations)
        self.world.sweep()
        allowed = {
            "retry": (State.WAITING, State.DEAD),
            "drop": (State.WAITING, State.ASKING, State.DONE, State.DEAD),
            "confirm": (State.ASKING,),
        }[what]
        try:
            getattr(self.queues[0], what)(mine.number)
        except InvalidConfig:
            assert mine.state not in allowed
            self.world.operations = before  # what is refused changes nothing at all
            return
        assert mine.state in allowed
        if what == "drop":
            self.world.operations.remove(mine)
            return
        mine.state, mine.not_before, mine.finished = State.WAITING, self.clock.now, None
        if what == "confirm":
            mine.is_accepted = True
        else:
            mine.failures = 0
            mine.expires = None if mine.new.lifetime is None else self.clock.now + mine.new.lifetime

    @rule()
    def sweep(self) -> None:
        self.world.sweep()
        self.world.forget()
        self.queues[0].sweep()

    @rule()
    def unknown(self) -> None:
        try:
            self.queues[0].drop(10**6)
        except OperationNotFound:
            return
        raise AssertionError("an operation that never was has been dropped")

    @invariant()
    def agree(self) -> None:
        now = self.clock.now
        due = {
            each.new.connector
            for each in self.world.operations
            if (each.state is State.WAITING and each.not_before <= now)
            or (each.state is State.RUNNING and each.leased_until < now)
        }
        self.world.operations.sort(key=lambda each: each.number)
        assert [each.facts() for each in self.world.operations] == [
            (each.number, each.key, each.state, each.attempts, each.failures, each.is_doubtful)
            for each in self.queues[1].operations()
        ]
        assert sorted(name for name in due if self.world.pauses.get(name, 0) <= now) == self.queues[1].due()

    def _mine(self, claimed) -> Model | None:
        for each in self.world.operations:
            same = (each.number, each.attempts) == (claimed.number, claimed.attempts)
            if same and each.state is State.RUNNING:
                return each
        return None

    def _begin(self, mine: Model) -> None:
        mine.state, mine.leased_until = State.RUNNING, self.clock.now + LEASE
        mine.attempts += 1

    def _end(self, mine: Model, outcome) -> None:
        match outcome:
            case Done():
                mine.state, mine.finished = State.DONE, self.clock.now
            case Again(_, delay, is_doubtful, is_fault):
                mine.state, mine.not_before = State.WAITING, self.clock.now + delay
                mine.is_doubtful |= is_doubtful
                mine.failures += is_fault
            case Ask():
                mine.state = State.ASKING
            case Dead():
                mine.state, mine.finished = State.DEAD, self.clock.now


class TestQueueAgainstItsModel(QueueMachine.TestCase):
    """Enqueue, dedupe, lease, take over, expire, fail, retry, confirm, drop, forget."""

    settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
