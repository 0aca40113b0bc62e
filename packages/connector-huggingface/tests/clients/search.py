"""Search through `huggingface_hub`. Prints what it saw as JSON."""

import json
import sys

from huggingface_hub import HfApi

api = HfApi()
base = "HuggingFaceTB/SmolLM2-135M-Instruct"
json.dump(
    {
        "all": len(list(api.list_models(author="acme"))),
        "first": [model.id for model in api.list_models(author="acme", sort="downloads", limit=7)],
        "adapters": [model.id for model in api.list_models(filter=["peft", f"base_model:adapter:{base}"])],
        "words": [model.id for model in api.list_models(search="lora TINY", full=True)],
        "anonymous": [model.id for model in api.list_models(search="secret", token=False)],
        "own": [model.id for model in api.list_models(search="secret")],
        "expanded": [
            [model.downloads, model.tags]
            for model in api.list_models(search="number-3", sort="downloads", expand=["downloads"])
        ],
    },
    sys.stdout,
)
