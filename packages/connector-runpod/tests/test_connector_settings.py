"""What the user may choose: read from texts, with every fault told at once."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from importlib.resources import files
from urllib.parse import urlsplit

import attrs
import pytest

from peft_studio import InvalidConfig
from peft_studio_runpod.settings import BASE_URL, GRAPHQL_URL, IMAGE, Settings

MANIFEST = json.loads(files("peft_studio_runpod").joinpath("connector.json").read_text(encoding="utf-8"))


def test_connector_json_knows_every_setting():
    """And no other; and the hosts of the addresses, for core lets it talk to no other."""
    keys = {field["key"] for field in (*MANIFEST["credentials"], *MANIFEST["settings"])}
    assert {*attrs.fields_dict(Settings), "api_key"} == keys
    assert {urlsplit(url).hostname for url in (BASE_URL, GRAPHQL_URL)} == set(MANIFEST["hosts"])


@pytest.mark.parametrize(
    ("login", "source"),
    [('[default]\napi_key = "rpa_0123"', "login file"), ('apikey = "rpa_0123"\napiurl = "https://x"', None)],
    ids=["runpod", "runpodctl"],
)
def test_the_login_of_runpods_package_is_known(login, source, tmp_path, monkeypatch):
    """`runpod config` wrote it. Another program of RunPod's keeps its own in the same place, which does no harm."""
    for name in ("RUNPOD_API_KEY", "PEFT_STUDIO_RUNPOD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    (tmp_path / ".runpod").mkdir()
    (tmp_path / ".runpod" / "config.toml").write_text(login, encoding="utf-8")
    command = [sys.executable, "-c", "from peft_studio.cli import main; main()", "auth", "status", "runpod", "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    fields = {field["field"]: field["source"] for field in json.loads(told.stdout)["fields"]}
    assert source == fields["api_key"], told.stderr


def test_nothing_has_to_be_chosen():
    """Empty texts are as good as none; the community cloud is not taken without being asked for."""
    settings = Settings.of({"api_key": "k", "clouds": " ", "gpu_types": "", "max_hourly_rate": ""})
    assert Settings() == settings
    assert ("SECURE",) == settings.clouds
    assert (72 * 3600.0, 12 * 3600.0) == (settings.limits.deadline, settings.limits.keep)


def test_texts_become_values():
    """Lists by commas, money exactly, hours as seconds."""
    settings = Settings.of(
        {
            "clouds": "community, secure",
            "gpu_types": "RTX 4090, RTX A5000,",
            "data_centers": "EU-RO-1",
            "gpu_count": "2",
            "max_hourly_rate": "0.35",
            "volume_gb": "10",
            "keep_hours": "0.5",
            "push_to": "me/adapters",
            "hf_token": "hf_0123456789",
        }
    )
    assert ("COMMUNITY", "SECURE") == settings.clouds
    assert ("RTX 4090", "RTX A5000") == settings.gpu_types
    assert (("EU-RO-1",), 2, 10) == (settings.data_centers, settings.gpu_count, settings.volume_gb)
    assert Decimal("0.35") == settings.max_hourly_rate
    assert 1800.0 == settings.limits.keep
    assert "hf_0123456789" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("clouds", "private", "clouds must be SECURE, COMMUNITY or both, separated by a comma, not 'private'"),
        ("clouds", ",", "clouds must be SECURE, COMMUNITY or both, separated by a comma, not ','"),
        ("gpu_count", "0", "gpu_count must be a whole number of at least 1, not '0'"),
        ("volume_gb", "5", "volume_gb must be a whole number of at least 10, not '5'"),
        ("disk_gb", "much", "disk_gb must be a whole number of at least 1, not 'much'"),
        ("max_hourly_rate", "cheap", "max_hourly_rate must be a number of more than 0, not 'cheap'"),
        ("max_hourly_rate", "NaN", "max_hourly_rate must be a number of more than 0, not 'NaN'"),
        ("keep_hours", "-1", "keep_hours must be a number of more than 0, not '-1'"),
        ("push_to", "adapters", "push_to must be a repository such as me/adapters, not 'adapters'"),
        ("base_url", "api.runpod.io", "base_url must be an address that begins with https://, not 'api.runpod.io'"),
        ("proxy_url", "https://x", "proxy_url must be an address with {pod_id} and {port} in it, not 'https://x'"),
    ],
)
def test_a_bad_value_is_one_sentence(name, text, sentence):
    """What must be there, and what was."""
    with pytest.raises(InvalidConfig) as caught:
        Settings.of({name: text, "hf_token": "hf_0123456789"})
    assert [(name, sentence)] == [(problem.field, problem.message) for problem in caught.value.problems]


def test_every_fault_is_told_at_once():
    """Three of them; a push needs a token."""
    with pytest.raises(InvalidConfig) as caught:
        Settings.of({"gpu_count": "x", "clouds": "x", "push_to": "me/adapters"})
    assert {"gpu_count", "clouds", "push_to"} == {problem.field for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("image", "cuda", "manufacturer"),
    [
        (IMAGE, "12.8", "NVIDIA"),
        ("nvcr.io/me/torch:cuda12.4-runtime", "12.4", "NVIDIA"),
        ("registry.example:5000/cu99/plain:1", None, "NVIDIA"),
        ("rocm/pytorch:rocm7.0", None, "AMD"),
    ],
)
def test_the_image_tells_what_it_needs(image, cuda, manufacturer):
    """Its name has CUDA's version, or ROCm; a folder in it counts for nothing."""
    settings = Settings(image=image)
    assert (cuda, manufacturer) == (settings.min_cuda, settings.manufacturer)
