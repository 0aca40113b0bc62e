"""`TrainingConfig`: what it takes, what it refuses and how it says so."""

import math
from decimal import Decimal

import attrs
import pytest

from peft_studio import InvalidConfig, TrainingConfig

MINIMAL = {"base_model": "model", "dataset_path": "data.jsonl"}


def test_documented_call():
    """The call of the documentation works as written."""
    config = TrainingConfig(
        base_model="test-model", algorithm="lora", rank=8, alpha=16, learning_rate=2e-4,
        batch_size=4, num_epochs=3, dataset_path="/path/to/dataset",
    )  # fmt: skip

    assert (8, 16.0, 2e-4) == (config.rank, config.alpha, config.learning_rate)


def test_alpha_follows_rank():
    """Alpha is twice the rank unless it is given."""
    assert 64.0 == TrainingConfig(**MINIMAL, rank=32).alpha
    assert 8.0 == TrainingConfig(**MINIMAL, rank=32, alpha=8).alpha


def test_all_faults_at_once():
    """Every broken rule is told in one error, each with its field."""
    with pytest.raises(InvalidConfig) as caught:
        TrainingConfig(**MINIMAL, rank=0, algorithm="lore", validation_split=1.0)

    assert ["algorithm", "rank", "validation_split"] == [problem.field for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("rank", 0, "rank must be at least 1, not 0"),
        ("rank", "8", "rank must be a whole number, not '8'"),
        ("rank", True, "rank must be a whole number, not True"),
        ("learning_rate", "high", "learning_rate must be a number, not 'high'"),
        ("learning_rate", math.nan, "learning_rate must be a number, not nan"),
        ("learning_rate", 0, "learning_rate must be more than 0, not 0"),
        ("dropout", 1, "dropout must be less than 1, not 1"),
        ("packing", "yes", "packing must be true or false, not 'yes'"),
        ("quantization", "int3", "quantization must be one of nf4, fp4, int8, not 'int3'"),
        ("base_model", " ", "base_model must be a text, not ' '"),
        ("target_modules", [], 'target_modules must be a list of names or "all-linear", not []'),
        ("target_modules", "q_proj", "target_modules must be a list of names or \"all-linear\", not 'q_proj'"),
        ("max_cost", "much", "max_cost must be an amount such as 5.00, not 'much'"),
        ("max_cost", -1, "max_cost must be more than 0, not -1"),
        ("max_duration", "soon", "max_duration must be a number, not 'soon'"),
    ],
)
def test_impossible_value(field, value, complaint):
    """An impossible value is refused in one sentence that names field, rule and value, however it comes in."""
    with pytest.raises(InvalidConfig) as from_dict:
        TrainingConfig.from_dict({**MINIMAL, field: value})
    with pytest.raises(InvalidConfig) as from_call:
        TrainingConfig(**{**MINIMAL, field: value})

    assert complaint == str(from_dict.value.problems[0])
    assert field == from_call.value.problems[0].field


@pytest.mark.parametrize(
    ("key", "meant"), [("rnak", "rank"), ("lora_r", "rank"), ("learing_rate", "learning_rate"), ("zzz", None)]
)
def test_unknown_key(key, meant):
    """An unknown key is refused, with the key that was meant: a misspelling or a neighbour's word."""
    with pytest.raises(InvalidConfig) as caught:
        TrainingConfig.from_dict({**MINIMAL, key: 8})

    assert (key, meant) == (caught.value.problems[0].field, caught.value.problems[0].suggestion)


def test_unknown_key_does_not_hide_a_wrong_value():
    """Unknown, missing and impossible are told together."""
    with pytest.raises(InvalidConfig) as caught:
        TrainingConfig.from_dict({"base_model": "model", "rnak": 8, "num_epochs": 0})

    assert ["rnak", "num_epochs", "dataset_path"] == [problem.field for problem in caught.value.problems]


def test_units():
    """Durations may carry a unit, money is exact, one tracker may be given by its name."""
    config = TrainingConfig.from_dict(
        {**MINIMAL, "max_duration": "1.5h", "max_cost": 0.1, "experiment_tracker": "wandb"}
    )

    assert 5400.0 == config.max_duration
    assert Decimal("0.1") == config.max_cost
    assert ("wandb",) == config.experiment_tracker


def test_round_trip():
    """A config survives its plain form, which JSON can carry."""
    config = TrainingConfig(
        **MINIMAL,
        target_modules=["q_proj", "v_proj"],
        max_cost="5.00",
        max_duration="90m",
        experiment_tracker=("a", "b"),
    )

    assert config == TrainingConfig.from_dict(config.to_dict())


def test_frozen():
    """A config does not change after it was checked."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        TrainingConfig(**MINIMAL).rank = 0


def test_every_field_has_help():
    """Each field says what it is; the reference is made from that."""
    assert [] == [field.name for field in attrs.fields(TrainingConfig) if not field.metadata["help"]]
