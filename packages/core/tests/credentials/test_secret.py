"""A secret shows itself to nobody who does not ask for it by name."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import pprint

import attrs
import pytest

from peft_studio.secret import Secret

TEXT = "sk-canary-1"
SECRET = Secret(TEXT)


def test_it_is_masked_wherever_it_is_shown() -> None:
    """However a text is made of it."""
    shown = [
        str(SECRET),
        repr(SECRET),
        f"{SECRET} {SECRET!r:>20} {SECRET:>20}",
        "%s %r" % (SECRET, SECRET),  # noqa: UP031 -- logging writes so
        pprint.pformat({"api_key": [SECRET]}),
        json.dumps({"api_key": SECRET}, default=str),
        repr(attrs.make_class("Holder", ["key"])(SECRET)),
        logging.makeLogRecord({"msg": "%s", "args": (SECRET,)}).getMessage(),
        repr(getattr(SECRET, "__dict__", None)),
    ]

    assert [] == [text for text in shown if TEXT in text]
    assert ["***", "Secret('***')"] == shown[:2]


def test_reveal_is_the_way_to_it() -> None:
    """And a secret of a secret is the same one."""
    assert TEXT == SECRET.reveal() == Secret(SECRET).reveal()


def test_equality_is_by_text_and_never_with_a_plain_one() -> None:
    """So it can be compared and be a key, but not be guessed with ==."""
    assert Secret(TEXT) == SECRET
    assert Secret("other") != SECRET
    assert SECRET != TEXT
    assert 1 == len({SECRET, Secret(TEXT)})
    assert (True, False) == (bool(SECRET), bool(Secret("")))
    assert Secret("ünïcode\ud800") == Secret("ünïcode\ud800")


def test_copies_are_the_same_object_and_pickles_there_are_none() -> None:
    """A copy would be one more to be masked; a pickle is a file with the text in it."""
    assert copy.copy(SECRET) is SECRET
    assert copy.deepcopy([SECRET])[0] is SECRET
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps({"api_key": SECRET}, protocol)
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(SECRET)


def test_it_cannot_be_changed() -> None:
    """What is masked is what is handed over."""
    with pytest.raises(AttributeError, match="cannot be changed"):
        SECRET._text = "other"  # type: ignore[misc]


@pytest.mark.parametrize("value", [None, 5, b"bytes", ["a"]])
def test_only_a_text_can_be_one(value: object) -> None:
    """The error tells the type, not the value."""
    with pytest.raises(TypeError, match=rf"must be a text, not {type(value).__name__}$"):
        Secret(value)  # type: ignore[arg-type]
