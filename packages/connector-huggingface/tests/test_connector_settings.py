"""What the user may choose: read from texts, with every fault told at once."""

from __future__ import annotations

import json
import subprocess
import sys
from fnmatch import fnmatch
from importlib.resources import files
from urllib.parse import urlsplit

import attrs
import pytest

from peft_studio import InvalidConfig
from peft_studio_huggingface.settings import BASE_URL, ENDPOINTS_URL, ROUTER_URL, Settings

MANIFEST = json.loads(files("peft_studio_huggingface").joinpath("connector.json").read_text(encoding="utf-8"))


def test_connector_json_knows_every_setting():
    """And no other; and the host of each address, for core lets it talk to no other."""
    keys = {field["key"] for field in (*MANIFEST["credentials"], *MANIFEST["settings"])}
    assert {*attrs.fields_dict(Settings), "token"} == keys
    hosts = [str(urlsplit(address).hostname) for address in (BASE_URL, ENDPOINTS_URL, ROUTER_URL)]
    assert all(any(fnmatch(host, known) for known in MANIFEST["hosts"]) for host in hosts)


def test_the_login_of_the_hubs_own_program_is_known(tmp_path, monkeypatch):
    """`hf auth login` wrote it: the token, and nothing else."""
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    place = tmp_path / ".cache" / "huggingface" / "token"
    place.parent.mkdir(parents=True)
    place.write_text("hf_0123456789\n", encoding="utf-8")
    command = [
        sys.executable, "-c", "from peft_studio.cli import main; main()", "auth", "status", "huggingface", "--json"
    ]  # fmt: skip
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    fields = {field["field"]: field["source"] for field in json.loads(told.stdout)["fields"]}
    assert "login file" == fields["token"], told.stderr


def test_nothing_has_to_be_chosen():
    """Empty texts are as good as none; pickles are not taken without being asked for."""
    settings = Settings.of({"token": "t", "namespace": " ", "weights": "", "base_url": ""})
    assert Settings() == settings
    assert ("safetensors", True) == (settings.weights, settings.uses_xet)


def test_the_api_of_endpoints_is_an_address_or_off():
    """And nothing else."""
    assert Settings.of({"endpoints_url": "Off"}).endpoints_url is None
    with pytest.raises(InvalidConfig, match="begins with https://, or off"):
        Settings.of({"endpoints_url": "never"})


@pytest.mark.parametrize(
    ("given", "uses_xet"),
    [({}, True), ({"base_url": "https://mirror.example/"}, False), ({"base_url": BASE_URL + "/"}, True),
     ({"xet": "no"}, False), ({"xet": "Yes", "base_url": "https://mirror.example"}, True)],
)  # fmt: skip
def test_a_mirror_has_no_xet(given, uses_xet):
    """Unless the user knows better."""
    assert uses_xet is Settings.of(given).uses_xet


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("namespace", "me/too", "namespace must be the name of a user or an organisation, not 'me/too'"),
        ("weights", "pickle", "weights must be safetensors or all, not 'pickle'"),
        ("search_limit", "0", "search_limit must be a whole number of at least 1, not '0'"),
        ("xet", "maybe", "xet must be yes or no, not 'maybe'"),
        ("base_url", "huggingface.co", "base_url must be an address that begins with https://, not 'huggingface.co'"),
    ],
)
def test_a_bad_value_is_one_sentence(name, text, sentence):
    """What must be there, and what was."""
    with pytest.raises(InvalidConfig) as caught:
        Settings.of({name: text})
    assert [(name, sentence)] == [(problem.field, problem.message) for problem in caught.value.problems]


def test_every_fault_is_told_at_once():
    """Two of them."""
    with pytest.raises(InvalidConfig) as caught:
        Settings.of({"xet": "x", "weights": "x"})
    assert {"xet", "weights"} == {problem.field for problem in caught.value.problems}
