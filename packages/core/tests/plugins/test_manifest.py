"""connector.json: every fault by its place, unknown keys forgiven."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from peft_studio.manifest import Manifest, parse

SMALLEST = {"name": "acme", "display_name": "Acme", "description": "Runs jobs"}
LIMITS = 'an object of positive numbers, such as {"requests_per_minute": 60}'
KEYS = 'an object of names, such as {"api_key": "default.api_key"}'
LOGIN = {"path": "~/.acme/token", "format": "text", "keys": {"api_key": "."}}
FULL = {
    **SMALLEST,
    "enabled": True,
    "credentials": [
        {"key": "api_key", "display_name": "API key", "description": "from the account page", "env": "ACME_API_KEY"},
        {"key": "team", "required": False, "secret": False},
    ],
    "settings": [{"key": "region", "description": "defaults to eu", "env": "ACME_REGION"}],
    "login_file": {
        "path": ["$ACME_HOME/config.toml", "~/.acme/config.toml"],
        "env": "ACME_CONFIG",
        "format": "toml",
        "keys": {"api_key": "default.api_key", "team": "default.team"},
    },
    "features": {"training": True, "inference": False, "registry": True, "tracking": False},
    "documentation_url": "https://acme.example/docs",
    "rate_limits": {"requests_per_minute": 60},
    "hosts": ["api.acme.example"],
    "hooks": ["peft_studio_job_event"],
    "commands": [{"name": "acme", "help": "Ask Acme."}],
    "api_version": 0,
}


def told(**changes: Any) -> list[str]:
    """What is said about the full manifest with these changes; the part that is the same everywhere is left out."""
    _, findings = parse(json.dumps({**FULL, **changes}).encode())
    return [f"{finding.severity}: {finding.message.removeprefix('connector.json: ')}" for finding in findings]


def test_a_full_manifest_is_read() -> None:
    """Every field arrives, nested ones as objects."""
    manifest, findings = parse(json.dumps(FULL).encode())

    assert [] == findings
    assert manifest is not None
    assert ("training", "registry") == manifest.features.names
    assert ["api_key", "team"] == [field.key for field in manifest.credentials]
    assert (True, True, "ACME_API_KEY") == attrs.astuple(manifest.credentials[0])[3:]
    assert manifest.login_file is not None
    assert ("$ACME_HOME/config.toml", "~/.acme/config.toml") == manifest.login_file.path
    assert ("acme", "Ask Acme.") == attrs.astuple(manifest.commands[0])
    assert {"requests_per_minute": 60} == manifest.rate_limits


def test_every_field_is_in_the_example() -> None:
    """A field that is added here is added to the example, and so to this test."""
    assert set(FULL) == {attribute.name for attribute in attrs.fields(Manifest)}


def test_the_smallest_manifest_has_three_fields() -> None:
    """All else has a default; no feature is assumed."""
    manifest, findings = parse(json.dumps(SMALLEST).encode())

    assert [] == findings
    assert Manifest(name="acme", display_name="Acme", description="Runs jobs") == manifest
    assert () == manifest.features.names


def test_null_means_not_given() -> None:
    """Generators of JSON write it for what they do not know."""
    assert [] == told(documentation_url=None, hosts=None, features=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "name is missing"),
        ({"name": 5}, "name must be a text, not 5"),
        ({"description": " "}, "description must be a text, not ' '"),
        ({"enabled": "yes"}, "enabled must be true or false, not 'yes'"),
        ({"api_version": "1"}, "api_version must be a whole number, not '1'"),
        ({"features": ["training"]}, 'features must be an object, not ["training"]'),
        ({"features": {"training": 1}}, "features.training must be true or false, not 1"),
        ({"credentials": {"key": "a"}}, 'credentials must be a list of objects, not {"key": "a"}'),
        ({"login_file": "~/.acme"}, 'login_file must be an object, not "~/.acme"'),
        ({"login_file": {**LOGIN, "path": None}}, "login_file.path is missing"),
        ({"login_file": {**LOGIN, "path": 5}}, "login_file.path must be a list of names, not 5"),
        (
            {"login_file": {**LOGIN, "format": "xml"}},
            "login_file.format must be one of text, json, toml, yaml, ini, netrc, not 'xml'",
        ),
        ({"login_file": {**LOGIN, "keys": {}}}, f"login_file.keys must be {KEYS}, not {{}}"),
        ({"login_file": {**LOGIN, "keys": {"api_key": 1}}}, f"login_file.keys must be {KEYS}, not {{'api_key': 1}}"),
        ({"login_file": {**LOGIN, "keys": "api_key"}}, f"login_file.keys must be {KEYS}, not 'api_key'"),
        (
            {"login_file": {**LOGIN, "keys": {"apikey": "."}}},
            "login_file.keys names 'apikey', which is not among the credentials",
        ),
        (
            {"login_file": {**LOGIN, "keys": {"api_key": "default.key"}}},
            "login_file.keys.api_key is 'default.key', and login_file.format is text",
        ),
        (
            {"login_file": {**LOGIN, "format": "json"}},
            "login_file.keys.api_key is '.', and login_file.format is json",
        ),
        ({"credentials": ["api_key"]}, 'credentials[0] must be an object, not "api_key"'),
        ({"credentials": [{"key": "a"}, {}]}, "credentials[1].key is missing"),
        ({"commands": [{"name": "acme"}]}, "commands[0].help is missing"),
        ({"hosts": "acme.example"}, "hosts must be a list of names, not 'acme.example'"),
        ({"hooks": [1]}, "hooks must be a list of names, not (1,)"),
        (
            {"documentation_url": "acme.example"},
            "documentation_url must be an address that starts with https://, not 'acme.example'",
        ),
        ({"rate_limits": {"per_minute": 0}}, f"rate_limits must be {LIMITS}, not {{'per_minute': 0}}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_fault_is_named_by_its_place(changes: dict[str, Any], message: str) -> None:
    """One sentence per fault: where, what must be there, what is there."""
    assert [f"fault: {message}"] == told(**changes)


def test_all_faults_are_told_at_once() -> None:
    """A missing field hides no other fault, at any depth."""
    assert [
        "fault: name is missing",
        "fault: credentials[0].key is missing",
        "fault: credentials[0].secret must be true or false, not 'no'",
        "fault: api_version must be at least 0, not -1",
    ] == told(name=None, credentials=[{"secret": "no"}], api_version=-1)


def test_unknown_keys_are_warnings() -> None:
    """They may come from a newer version; a misspelt one gets a suggestion."""
    _, findings = parse(json.dumps({**SMALLEST, "colour": "red", "features": {"trainig": True}}).encode())

    assert [
        ("warning", "connector.json: colour is not a key that is known here", "remove it, or upgrade peft-studio"),
        ("warning", "connector.json: features.trainig is not a key that is known here", "did you mean 'training'?"),
    ] == [(str(finding.severity), finding.message, finding.remedy) for finding in findings]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON: line 1, column 1: Expecting value"),
        (b"[]", "must be an object, not []"),
        (b"null", "must be an object, not null"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"\xff\xfe{}", "is not UTF-8 (byte 0)"),
    ],
    ids=["empty", "a list", "null", "deep", "UTF-16"],
)
def test_what_is_no_manifest_at_all(data: bytes, message: str) -> None:
    """Any file gives one fault and no traceback."""
    manifest, findings = parse(data)

    assert manifest is None
    assert [f"connector.json: {message}"] == [finding.message for finding in findings]
