"""Every PEFT method: trained for real, saved, and loaded again with PEFT."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_studio.errors import InvalidConfig, UnsupportedCapability
from peft_studio.training_config import ALGORITHMS, TrainingConfig
from peft_studio_worker.training import algorithms
from peft_studio_worker.training.session import open_session

#: Saved as what they are worth on the untouched base model, or pruned to their rank: equal but for rounding.
REWRITTEN = {"pissa", "olora", "adalora"}


def logits(model: Any) -> torch.Tensor:
    """What `model` says on a fixed row of tokens."""
    with torch.inference_mode():
        return model.eval()(input_ids=torch.arange(3, 43)[None]).logits


def reloaded(artifact: Path, base: Path) -> Any:
    """A fresh base model with the adapter of `artifact`, as any user of PEFT loads it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(artifact))


@pytest.mark.filterwarnings(  # what PEFT says at every load of a healthy adapter of these methods
    "ignore:Failed to load the CUDA extension",  # boft on a CPU
    "ignore:Setting boft_n_butterfly",
    "ignore:The distutils package is deprecated",  # torch, asking for a compiler for it, where setuptools is installed
    "ignore:The following rank_pattern keys",  # adalora
    "ignore:Unsupported layer type",  # ln_tuning on norms that are not torch's own
)
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "qlora"])
def test_it_trains_and_reloads(algorithm, make_job, train, tiny_model) -> None:
    """Training changes the model, and the artifact gives what the trained model gave."""
    from transformers import AutoModelForCausalLM

    folder: Path = make_job(algorithm=algorithm, num_epochs=2, num_virtual_tokens=8)

    events = train(folder)
    trained = logits(open_session(folder, train.silent).prepared.loop.model)  # from the last checkpoint
    again = logits(reloaded(folder / "artifact", tiny_model))

    assert not torch.equal(logits(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)), trained)
    if algorithm in REWRITTEN:
        torch.testing.assert_close(trained, again, rtol=0, atol=2e-5)
    else:
        assert torch.equal(trained, again)
    assert events.losses()[-1] < events.losses()[0]
    if algorithm in algorithms.LORA_FAMILY:
        assert events.losses()[-1] < events.losses()[0] - 0.2


@pytest.fixture
def bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes find bitsandbytes, also where the run of the tests keeps it apart from all others."""
    if apart := os.environ.get("BITSANDBYTES"):
        monkeypatch.setenv("PYTHONPATH", apart, prepend=os.pathsep)
    elif find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize("algorithm", ["lora", "qlora"])
def test_a_machine_with_bitsandbytes(algorithm, make_job, start_trainer) -> None:
    """The adapter learns: of a base that is held in 4 bits where that was asked for, and else as anywhere."""
    folder: Path = make_job(algorithm=algorithm, num_epochs=2)

    events = [json.loads(line) for line in start_trainer(folder).stdout]

    assert (folder / "artifact").is_dir(), events
    losses = [event["loss"] for event in events if event["type"] == "step"]
    assert losses[-1] < losses[0] - 0.2


def config(**settings: Any) -> TrainingConfig:
    """A config with these settings."""
    return TrainingConfig(base_model="m", dataset_path="d", **settings)


def test_qlora_without_bitsandbytes_is_refused() -> None:
    """The missing package is named, and what to do."""
    if find_spec("bitsandbytes") is None:
        with pytest.raises(
            UnsupportedCapability, match="qlora cannot run on this machine: bitsandbytes is not"
        ) as caught:
            algorithms.check(config(algorithm="qlora"))
        assert "install peft-studio-worker[quantize], or use lora" == caught.value.remedy
    else:
        algorithms.check(config(algorithm="qlora"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"algorithm": "loha", "quantization": "nf4"}, "loha cannot be trained on a quantized model"),
        ({"algorithm": "prompt_tuning", "target_modules": ["q_proj"]}, "prompt_tuning adapts no layers"),
        (
            {"algorithm": "prefix_tuning", "gradient_checkpointing": True},
            "prefix_tuning does not work with gradient_checkpointing",
        ),
    ],
)
def test_what_cannot_go_together_is_refused(settings: dict[str, Any], sentence: str) -> None:
    """Combinations that cannot work are refused before anything is read."""
    with pytest.raises(InvalidConfig, match=sentence):
        algorithms.check(config(**settings))


def test_settings_without_effect_are_known() -> None:
    """What a method has no use for is told, unless it was left alone."""
    assert ["dropout"] == algorithms.ignored_settings(config(algorithm="ia3", dropout=0.1))
    assert ["rank"] == algorithms.ignored_settings(config(algorithm="ln_tuning", rank=8))
    assert ["num_virtual_tokens"] == algorithms.ignored_settings(config(num_virtual_tokens=5))
    assert [] == algorithms.ignored_settings(config(algorithm="prefix_tuning", num_virtual_tokens=5))
    assert [] == algorithms.ignored_settings(config(rank=8, alpha=4, dropout=0.1))


def test_targets_that_match_nothing_list_what_exists(make_job, train) -> None:
    """A name that is no layer is refused before the model is loaded."""
    events = None
    with pytest.raises(InvalidConfig) as caught:
        events = train(make_job(target_modules=["q_proj", "query"]))

    assert events is None
    assert str(caught.value) == (
        "target_modules query match nothing in the model; "
        "its linear layers are down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )


def test_targets_are_written_sorted(make_job, train) -> None:
    """The layers stand in the artifact in the same order in every run."""
    folder: Path = make_job(max_steps=1)

    train(folder)

    settings = json.loads((folder / "artifact" / "adapter_config.json").read_text())
    assert ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"] == settings["target_modules"]


def test_only_the_named_layers_are_adapted(make_job, train) -> None:
    """Two layers named, two layers adapted in each of the two blocks."""
    folder: Path = make_job(target_modules=["q_proj", "v_proj"], max_steps=1)

    [start] = train(folder).of("start")

    # Rank 4: 64 in and 64 (q) or 32 (v, two of four heads) out.
    assert 2 * (4 * (64 + 64) + 4 * (64 + 32)) == start["trainable_parameters"]


@pytest.mark.parametrize("algorithm", ["pissa", "olora"])
def test_decompositions_become_plain_lora(algorithm, make_job, train) -> None:
    """An adapter that started from a decomposition needs none to be used: it is a LoRA of twice the rank."""
    folder: Path = make_job(algorithm=algorithm, max_steps=2)

    train(folder)

    settings = json.loads((folder / "artifact" / "adapter_config.json").read_text())
    assert (8, 16, True) == (settings["r"], settings["lora_alpha"], settings["init_lora_weights"])
