"""Log records without secrets, whoever logs and whoever listens.

A filter on a logger sees no records of the loggers below it, and one on a handler only what comes there. Records are
therefore masked where they are made, by the record factory, which asks the one that was there before.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from peft_studio.redaction import mask, redacted

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class RedactingFilter(logging.Filter):
    """For handlers that write the `extra` of a record too, which is added after the record is made."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record, and let it pass."""
        redact(record)
        for name in vars(record).keys() - _STANDARD:
            setattr(record, name, redacted(getattr(record, name)))
        return True


class _Factory:
    """Makes records as they were made before, masked."""

    def __init__(self, previous: Callable[..., logging.LogRecord]) -> None:
        self._previous = previous

    def __call__(self, *arguments: Any, **named: Any) -> logging.LogRecord:
        record = self._previous(*arguments, **named)
        redact(record)
        return record


def install() -> None:
    """Mask every record from now on; done again when somebody has replaced the factory since."""
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _Factory):
        logging.setLogRecordFactory(_Factory(factory))


def redact(record: logging.LogRecord) -> None:
    """Mask message, arguments and traceback; a record without a secret stays as it is."""
    if not mask:
        return
    _redact_message(record)
    if record.exc_info and record.exc_info[1] is not None:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if mask.hides(text):
            record.exc_text, record.exc_info = mask(text), None
    if record.exc_text:
        record.exc_text = mask(record.exc_text)
    if record.stack_info:
        record.stack_info = mask(record.stack_info)


def _redact_message(record: logging.LogRecord) -> None:
    arguments = repr(record.args)
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 -- logging itself will say so, with the arguments, when it formats the record
        message = f"{record.msg} {arguments}"
    if mask.hides(message) or mask.hides(arguments):
        record.msg, record.args = mask(message), ()
