"""Where a machine that is about to end puts an adapter that nobody has fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from peft_studio.model_address import ModelAddress
from peft_studio.training_config import TrainingConfig

#: Environment variable of the machine, by the name that `huggingface_hub` reads.
HUB_VARIABLE: Final = "HF_TOKEN"


def hub_variables(config: TrainingConfig, repository: str | None, token: str | None) -> Mapping[str, str]:
    """Variables by which the worker pushes it to the Hugging Face Hub, as a private repository when it is new.

    That is `repository`, or else the first place on the Hub that the config's `push_to` names. Empty without a token
    that the machine may have.
    """
    if token is None:
        return {}
    places = [address.model_id for address in map(ModelAddress.parse, config.push_to) if _is_hub(address)]
    chosen = next((place.partition("@")[0] for place in [repository, *places] if place), None)
    if chosen is None:
        return {HUB_VARIABLE: token}
    push = {"kind": "huggingface", "repo_id": chosen, "private": True, "token_env": HUB_VARIABLE}
    return {HUB_VARIABLE: token, "PEFT_STUDIO_WORKER_PUSH": json.dumps(push)}


def _is_hub(address: ModelAddress) -> bool:
    return address.connector == "huggingface"
