"""The error tree."""

import pickle

import pytest

import peft_studio
from peft_studio import errors

TREE = {
    "InvalidConfig": ValueError,
    "InvalidCredentials": ValueError,
    "MissingCredentials": ValueError,
    "ConnectionFailed": ConnectionError,
    "IncompleteList": ConnectionError,
    "ArtifactNotFound": FileNotFoundError,
    "ConnectorNotFound": LookupError,
    "JobNotFound": LookupError,
    "BrokenConnector": ImportError,
    "PlatformError": RuntimeError,
    "RateLimitError": RuntimeError,
    "InsufficientCreditsError": RuntimeError,
    "CapacityError": RuntimeError,
    "NotEnoughMemory": RuntimeError,
    "UnsupportedCapability": RuntimeError,
}


@pytest.mark.parametrize("name", TREE)
def test_built_in_parent(name):
    """Each error is ours and the built-in that its docs name."""
    error = getattr(peft_studio, name)("it failed")

    assert isinstance(error, peft_studio.PeftStudioError)
    assert isinstance(error, TREE[name])
    assert "it failed" == str(error)


def test_sentence():
    """An error says where, what and why; the remedy stands apart."""
    error = errors.PlatformError("cannot rent", why="no stock", remedy="try later", connector="runpod (x 1.0)")

    assert "runpod (x 1.0): cannot rent: no stock" == str(error)
    assert "try later" == error.remedy


@pytest.mark.parametrize("name", TREE)
def test_pickle(name):
    """Errors cross process borders with everything they carry."""
    sent = getattr(peft_studio, name)("it failed", why="429", remedy="wait", connector="x (y 1.0)")
    sent.retry_after = 3.5
    error = pickle.loads(pickle.dumps(sent))

    assert (type(sent), "x (y 1.0): it failed: 429", "wait", 3.5) == (
        type(error), str(error), error.remedy, error.retry_after,
    )  # fmt: skip


def test_exit_codes_are_documented():
    """Every exit code of an error has its line in the table."""
    from peft_studio.cli import EXIT_CODES

    codes = {getattr(peft_studio, name).exit_code for name in TREE}

    assert set() == codes - set(EXIT_CODES)
