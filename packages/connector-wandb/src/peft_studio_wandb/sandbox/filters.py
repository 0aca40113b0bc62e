"""Which runs, and in which order: filters as MongoDB writes them, and `+key` or `-key`."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from peft_studio_wandb.sandbox.problems import Refusal
from peft_studio_wandb.sandbox.runs import WandbRun, Workspace

#: What stands for a field that a run does not have.
_MISSING: Final = object()
_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "$eq": operator.eq,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$regex": lambda value, pattern: re.search(pattern, value) is not None,
}


def select(workspace: Workspace, runs: Iterable[WandbRun], filters: str | None, order: str | None) -> list[WandbRun]:
    """The runs that the filters let through, the newest first unless told otherwise."""
    wanted = json.loads(filters or "{}") or {}
    chosen = [run for run in runs if matches(wanted, lambda key, run=run: _field(workspace, run, key))]  # type: ignore[misc]  # bound now
    keys = order or "-created_at"
    for key in reversed(keys.split(",")):
        name = key.strip().lstrip("+-")
        chosen.sort(key=lambda run: _sortable(_field(workspace, run, name)))
        if key.strip().startswith("-"):
            chosen.reverse()
    return chosen


def matches(wanted: Mapping[str, Any], look_up: Callable[[str], Any]) -> bool:
    """True when every condition holds."""
    return all(_holds(key, condition, look_up) for key, condition in wanted.items())


def _holds(key: str, condition: Any, look_up: Callable[[str], Any]) -> bool:
    if key == "$and":
        return all(matches(each, look_up) for each in condition)
    if key == "$or":
        return any(matches(each, look_up) for each in condition)
    if key == "$nor":
        return not any(matches(each, look_up) for each in condition)
    if key.startswith("$"):
        raise Refusal(400, f"unknown operator {key}")
    conditions = condition if _is_operators(condition) else {"$eq": condition}
    return all(_test(name, look_up(key), operand) for name, operand in conditions.items())


def _is_operators(condition: Any) -> bool:
    return isinstance(condition, dict) and bool(condition) and all(name.startswith("$") for name in condition)


def _test(name: str, value: Any, operand: Any) -> bool:
    if name == "$exists":
        return bool((value is not _MISSING) == operand)
    if name == "$ne":
        return not _test("$eq", value, operand)
    if name == "$in":
        return any(_test("$eq", value, each) for each in operand)
    if name == "$nin":
        return not _test("$in", value, operand)
    if name not in _COMPARE:
        raise Refusal(400, f"unknown operator {name}")
    values = value if isinstance(value, list) and not isinstance(operand, list) else [value]
    return any(_compare(_COMPARE[name], each, operand) for each in values)


def _compare(compare: Callable[[Any, Any], Any], value: Any, operand: Any) -> bool:
    if value is _MISSING:
        return operand is None and compare is operator.eq
    try:
        return bool(compare(value, operand))
    except TypeError:  # a text beside a number is neither less nor more
        return False


def _field(workspace: Workspace, run: WandbRun, key: str) -> Any:
    """The value that a filter or an order means by that key."""
    if key.startswith("config."):
        return _dig(json.loads(run.config), key.removeprefix("config."))
    if key.startswith(("summary_metrics.", "summaryMetrics.")):
        return _dig(json.loads(run.summary), key.partition(".")[2])
    now = workspace.clock.now()
    plain: dict[str, Any] = {
        "name": run.name, "displayName": run.display_name, "display_name": run.display_name, "state": run.state(now),
        "tags": run.fields.get("tags") or [], "group": run.fields.get("groupName"), "host": run.fields.get("host"),
        "jobType": run.fields.get("jobType"), "job_type": run.fields.get("jobType"), "username": workspace.entities[0],
        "createdAt": workspace.date(run.created), "created_at": workspace.date(run.created),
        "heartbeatAt": workspace.date(run.heartbeat), "heartbeat_at": workspace.date(run.heartbeat),
        "duration": run.heartbeat - run.created,
    }  # fmt: skip
    value = plain.get(key, _MISSING)
    return _MISSING if value is None else value


def _dig(document: Any, key: str) -> Any:
    """A value by its dotted name: a key of the document may hold dots itself, and `.value` may be left out."""
    for name in (key, key.removesuffix(".value")):
        if isinstance(document, dict) and name in document:
            return _unwrapped(document[name])
    head, _, rest = key.partition(".")
    if rest and isinstance(document, dict) and head in document:
        return _dig(_unwrapped(document[head]), rest.removeprefix("value."))
    return _MISSING


def _unwrapped(value: Any) -> Any:
    is_wrapped = isinstance(value, dict) and "value" in value and set(value) <= {"value", "desc"}
    return value["value"] if is_wrapped else value


def _sortable(value: Any) -> tuple[int, Any]:
    if value is _MISSING:
        return (0, 0)
    return (1, value) if isinstance(value, (int, float)) else (2, str(value))
