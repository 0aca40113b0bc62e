"""Exceptions without secrets: the whole chain, with notes, groups and whatever else a traceback shows of it."""

from __future__ import annotations

import traceback
from typing import Any

from peft_studio.redaction import mask, redacted

#: Texts of the built-in exceptions that are neither arguments nor in `vars`.
_ATTRIBUTES = ("filename", "filename2", "strerror", "text", "msg", "reason")


class Redacted(Exception):
    """Stands for an exception that made its text of more than can be masked."""


def redacted_error(error: BaseException) -> BaseException:
    """`error` with every secret in its chain masked in place; another one that stands for it where that fails."""
    return _redacted_chain(error, {}) if mask else error


def _redacted_chain(error: BaseException, done: dict[int, BaseException]) -> BaseException:
    if id(error) in done:
        return done[id(error)]
    done[id(error)] = error
    _mask_in_place(error)
    result = _redacted_group(error, done) if isinstance(error, BaseExceptionGroup) else _itself_or_stand_in(error)
    done[id(error)] = result
    suppresses = error.__suppress_context__
    if error.__cause__ is not None:
        result.__cause__ = _redacted_chain(error.__cause__, done)
    if error.__context__ is not None:
        result.__context__ = _redacted_chain(error.__context__, done)
    result.__suppress_context__ = suppresses
    return result


def _redacted_group(group: BaseExceptionGroup[Any], done: dict[int, BaseException]) -> BaseException:
    """The group itself unless a member needs a stand-in, or its message, which cannot be changed, has a secret."""
    members = [_redacted_chain(member, done) for member in group.exceptions]
    if mask.hides(group.message):
        return _with_origin(BaseExceptionGroup(mask(group.message), members), group)
    if all(new is old for new, old in zip(members, group.exceptions, strict=True)):
        return group
    return _with_origin(group.derive(members), group)


def _mask_in_place(error: BaseException) -> None:
    _replace(error, "args", error.args)
    for name, value in list(vars(error).items()):
        _replace(error, name, value)
    for name in _ATTRIBUTES:
        _replace(error, name, getattr(error, name, None))


def _replace(error: BaseException, name: str, value: Any) -> None:
    if not isinstance(value, str | bytes | list | tuple | dict):
        return
    masked = redacted(value)
    if masked != value:
        try:
            setattr(error, name, masked)
        except (AttributeError, TypeError, ValueError):  # a read-only property: seen by whoever looks at the text next
            return


def _itself_or_stand_in(error: BaseException) -> BaseException:
    shown = "".join(traceback.format_exception_only(error)).strip()
    if mask.hides(shown) or mask.hides(_repr(error)):
        return _with_origin(Redacted(mask(shown)), error)
    return error


def _repr(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception as second:  # noqa: BLE001 -- a broken __repr__ must not hide the error that it belongs to
        return str(second)


def _with_origin(new: BaseException, error: BaseException) -> BaseException:
    new.__cause__, new.__context__ = error.__cause__, error.__context__
    new.__suppress_context__ = error.__suppress_context__
    for note in getattr(error, "__notes__", ()) if isinstance(new, BaseExceptionGroup) else ():
        new.add_note(note)
    return new.with_traceback(error.__traceback__)
