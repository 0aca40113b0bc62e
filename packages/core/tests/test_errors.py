"""The error tree."""

import pickle

import pytest

import peft_studio
from peft_studio import errors

TREE = {
    "InvalidConfig": ValueError,
    "InvalidCredentials": ValueError,
    "ConnectionFailed": ConnectionError,
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


def test_pickle():
    """Errors cross process borders with everything they carry."""
    error = pickle.loads(pickle.dumps(errors.RateLimitError("slow down", retry_after=3.5, why="429")))

    assert (3.5, "slow down: 429") == (error.retry_after, str(error))


def test_exit_codes_are_documented():
    """Every exit code of an error has its line in the table."""
    from peft_studio.cli import EXIT_CODES

    codes = {getattr(peft_studio, name).exit_code for name in TREE}

    assert set() == codes - set(EXIT_CODES)
