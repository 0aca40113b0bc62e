"""What the environment of a rented machine may say, and what is left of it."""

from __future__ import annotations

import base64
import json

import pytest

from peft_studio.errors import InvalidConfig
from peft_studio_worker.serving.settings import Settings

TOKEN = "a" * 32
SECRET = "-----BEGIN PRIVATE KEY-----secret"


def environment(**settings: str) -> dict[str, str]:
    """Of a machine with a job and a token."""
    given = {"JOB": "ps-job", "TOKEN": TOKEN} | settings
    return {f"PEFT_STUDIO_WORKER_{name}": value for name, value in given.items()}


def recipe(**step: object) -> str:
    """A teardown of one step."""
    return json.dumps([{"url": "https://acme.test/pods/1"} | step])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"JOB": ""}, "PEFT_STUDIO_WORKER_JOB is missing"),
        ({"JOB": "../up"}, "PEFT_STUDIO_WORKER_JOB must be letters, digits, dots and dashes, at most 128, not '../up'"),
        ({"TOKEN": ""}, "PEFT_STUDIO_WORKER_TOKEN is missing"),
        ({"TOKEN": "short"}, "PEFT_STUDIO_WORKER_TOKEN must be at least 32 letters, digits, dashes or underscores"),
        ({"PORT": "http"}, "PEFT_STUDIO_WORKER_PORT must be a port up to 65535 (0 takes a free one), not 'http'"),
        ({"KEEP": "-1"}, "PEFT_STUDIO_WORKER_KEEP must be 0 or more, not '-1'"),
        ({"WAIT": "soon"}, "PEFT_STUDIO_WORKER_WAIT must be a number, not 'soon'"),
        ({"MAX_COST": "NaN"}, "PEFT_STUDIO_WORKER_MAX_COST must be 0 or more, not 'NaN'"),
        ({"CREATED": "noon"}, "PEFT_STUDIO_WORKER_CREATED must be a time such as 2026-01-31T12:00:00Z, not 'noon'"),
        (
            {"CREATED": "2026-01-31T12:00:00"},
            "PEFT_STUDIO_WORKER_CREATED must name its zone, such as 2026-01-31T12:00:00Z, not '2026-01-31T12:00:00'",
        ),
        ({"KEY": SECRET}, "PEFT_STUDIO_WORKER_CERTIFICATE is needed together with KEY, or neither"),
        ({"KEY": "secret"}, "PEFT_STUDIO_WORKER_KEY must be a PEM text, or its base64"),
        (
            {"PUSH": "{}"},
            'PEFT_STUDIO_WORKER_PUSH must be JSON such as {"kind": "huggingface", "repo_id": "me/adapter"}',
        ),
        (
            {"PUSH": '{"kind": "ftp", "repo_id": "x"}'},
            "PEFT_STUDIO_WORKER_PUSH knows the kind 'huggingface' only, not 'ftp'",
        ),
        ({"TEARDOWN": "rpa_secret"}, "PEFT_STUDIO_WORKER_TEARDOWN must be a JSON list of steps"),
        ({"TEARDOWN": "[]"}, "PEFT_STUDIO_WORKER_TEARDOWN must be a JSON list of at least one step"),
        ({"TEARDOWN": "[{}]"}, "PEFT_STUDIO_WORKER_TEARDOWN has a step 1 without a url"),
        (
            {"TEARDOWN": recipe(url="file:///")},
            "PEFT_STUDIO_WORKER_TEARDOWN has a step 1 whose url is not http or https",
        ),
        ({"TEARDOWN": recipe(body=1)}, "PEFT_STUDIO_WORKER_TEARDOWN has a step 1 with an unknown key 'body'"),
        (
            {"TEARDOWN": recipe(headers={"x": "${NOBODY_SET_IT}"})},
            "PEFT_STUDIO_WORKER_TEARDOWN names the variable NOBODY_SET_IT, which is not set on this machine",
        ),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_sentence(settings, sentence) -> None:
    """It names the variable, and no secret is repeated."""
    with pytest.raises(InvalidConfig) as caught:
        Settings.take(environment(**settings))

    assert [sentence] == [problem.message for problem in caught.value.problems]
    assert "secret" not in str(caught.value)


def test_all_faults_at_once() -> None:
    """Nobody wants to rent a machine for each of them."""
    with pytest.raises(InvalidConfig) as caught:
        Settings.take({"PEFT_STUDIO_WORKER_PORT": "x"})

    assert ["job", "token", "port"] == [problem.field for problem in caught.value.problems]


def test_secrets_are_taken_out_of_the_environment() -> None:
    """The training process inherits none of them, and the settings show none; the Hub's token is the trainer's too."""
    surroundings = environment(
        TEARDOWN=recipe(headers={"authorization": "Bearer ${POD_KEY}"}),
        PUSH='{"kind": "huggingface", "repo_id": "me/adapter"}',
    ) | {"POD_KEY": "rpa_secret", "HF_TOKEN": "hf_secret", "HOME": "/root"}

    settings = Settings.take(surroundings)

    assert {"HF_TOKEN": "hf_secret", "HOME": "/root"} == surroundings
    assert {"HF_TOKEN": "hf_secret", "POD_KEY": "rpa_secret"} == settings.secrets
    assert "secret" not in repr(settings)
    assert TOKEN not in repr(settings)
    assert "***, *** and ***" == settings.mask(f"{TOKEN}, rpa_secret and hf_secret")


def test_a_certificate_may_come_in_base64() -> None:
    """Some platforms lose newlines of variables."""
    pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
    encoded = base64.b64encode(pem.encode()).decode()

    settings = Settings.take(environment(CERTIFICATE=encoded, KEY=pem))

    assert (pem, pem) == (settings.certificate, settings.key)
