"""A whole run: events, losses, artifact."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from peft_studio.artifacts import verify
from peft_studio.errors import InvalidConfig
from peft_studio.training_config import TrainingConfig
from peft_studio_worker.training.examples import PLAIN_TEMPLATE
from peft_studio_worker.training.schedule import learning_rate


def test_a_run_learns_and_leaves_an_artifact(make_job, train) -> None:
    """The loss falls, and the artifact folder is whole."""
    folder: Path = make_job(num_epochs=3)

    events = train(folder)

    assert events.losses()[-1] < events.losses()[0] - 0.3
    assert events.of("artifact")[0]["manifest_sha256"] == verify(folder / "artifact").sha256


def test_accumulated_batches_are_the_large_batch(make_job, train, tmp_path) -> None:
    """Answers of one to forty words, accumulated, give the losses of the batch that they are together."""
    path = tmp_path / "uneven.jsonl"
    rows = [{"prompt": "How many?", "completion": "river " * (1 + number**2 % 40)} for number in range(48)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    large = train(make_job("large", dataset_path=str(path), batch_size=12))
    small = train(make_job("small", dataset_path=str(path), batch_size=3, gradient_accumulation_steps=4))

    assert [pytest.approx(loss, rel=1e-5) for loss in large.losses()] == small.losses()


def test_the_loss_is_that_of_a_plain_loop(make_job, train, tiny_model, facts_file) -> None:
    """All levers together give the losses of a loop that has none, but for the order of additions."""
    events = train(make_job(num_epochs=2, lr_scheduler_type="cosine", warmup_steps=2))

    plain = plain_losses(tiny_model, facts_file)

    assert [pytest.approx(loss, rel=1e-5) for loss in plain] == events.losses()


def plain_losses(base: Path, dataset: Path) -> list[float]:
    """LoRA with nothing but transformers and peft: padded batches, all logits, transformers' loss and schedule."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_schedule_with_warmup

    from peft_studio_worker.training.batches import epoch_order

    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [json.loads(line) for line in dataset.read_text().splitlines()]
    torch.manual_seed(42)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    layers = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    torch.manual_seed(42)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=layers)).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, 2, 12)
    losses = []
    for epoch in range(2):
        order = epoch_order(len(rows), 42, epoch)
        for start in range(0, len(order), 8):
            batch = [encode(tokenizer, rows[index]) for index in order[start : start + 8]]
            width = max(len(ids) for ids, _ in batch)
            ids = torch.tensor([ids + [2] * (width - len(ids)) for ids, _ in batch])
            labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in batch])
            mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in batch])
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses


def encode(tokenizer, row) -> tuple[list[int], list[int]]:
    """Ids and labels of one pair, the prompt masked."""
    question = [{"role": "user", "content": row["prompt"]}]
    whole = [*question, {"role": "assistant", "content": row["completion"]}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True)["input_ids"]
    ids = tokenizer.apply_chat_template(whole)["input_ids"]
    return ids, [-100] * len(prompt) + ids[len(prompt) :]


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "constant_with_warmup"])
def test_schedules_are_those_of_transformers(kind) -> None:
    """The pure function gives what transformers' schedulers of the same name step through."""
    from transformers import get_scheduler

    config = TrainingConfig(base_model="m", dataset_path="d", lr_scheduler_type=kind, warmup_steps=3, learning_rate=0.5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = get_scheduler(kind, optimizer, num_warmup_steps=3, num_training_steps=10)
    theirs = []
    for _ in range(10):
        theirs.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()

    assert [pytest.approx(rate) for rate in theirs] == [learning_rate(config, step, 10) for step in range(1, 11)]


def test_validation(make_job, train) -> None:
    """A share is kept back and its loss told every so many steps and at the end, once for each."""
    events = train(make_job(validation_split=0.25, eval_steps=2))

    [start] = events.of("start")
    assert (36, 12, 5) == (start["examples"], start["validation_examples"], start["total_steps"])
    assert [2, 4, 5] == [event["step"] for event in events.of("eval")]
    assert events.of("eval")[-1]["loss"] < events.of("eval")[0]["loss"]


def test_packing_takes_fewer_steps(make_job, train) -> None:
    """Filled rows hold several examples; all tokens of the epoch are seen."""
    events = train(make_job(packing=True, max_seq_length=128, batch_size=2))

    [start] = events.of("start")
    assert start["tokens_per_epoch"] == sum(event["tokens"] for event in events.of("step"))
    assert len(events.of("step")) < 48 / 4


def test_packing_where_it_would_change_the_loss(make_job, train) -> None:
    """A prompt method cannot share rows; the log says so and the run goes on."""
    events = train(make_job(packing=True, algorithm="prompt_tuning", num_virtual_tokens=4))

    assert "packing would change the loss of this model or method; every example gets a row of its own" in (
        events.messages()
    )
    assert 6 == len(events.of("step"))


def test_a_window_shorter_than_an_example_keeps_rows_apart(make_job, train, make_model, tmp_path) -> None:
    """A model that looks back only 16 tokens gets its own mask, and packing is refused in the log."""
    mistral = {"sliding_window": 16, "model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    folder = make_model(tmp_path / "windowed")
    settings = json.loads((folder / "config.json").read_text()) | mistral
    (folder / "config.json").write_text(json.dumps(settings))

    events = train(make_job(base_model=str(folder), packing=True))

    assert "packing would change the loss of this model or method; every example gets a row of its own" in (
        events.messages()
    )


def test_unknown_models_are_measured_before_rows_are_shared(make_job, train, make_model, tmp_path) -> None:
    """A model type that is not known by name learns as well, whatever the measurement says."""
    folder = make_model(tmp_path / "qwen2")
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "stablelm", "architectures": ["StableLmForCausalLM"], "layer_norm_eps": 1e-5}
    (folder / "config.json").write_text(json.dumps(settings))

    events = train(make_job(base_model=str(folder), num_epochs=2))

    assert events.losses()[-1] < events.losses()[0]


def test_gradient_checkpointing_changes_nothing_but_memory(make_job, train) -> None:
    """The losses are the same."""
    with_it = train(make_job("with", gradient_checkpointing=True))
    without = train(make_job("without"))

    assert [pytest.approx(loss, rel=1e-5) for loss in without.losses()] == with_it.losses()


def test_bfloat16_is_close(make_job, train) -> None:
    """Half the bits, about the same loss."""
    exact, rounded = (train(make_job(dtype, dtype=dtype)).losses() for dtype in ("float32", "bfloat16"))

    assert pytest.approx(exact[-1], rel=0.03) == rounded[-1]
    assert exact != rounded


def test_the_step_events(make_job, train) -> None:
    """Each step tells what it did, and the last one that nothing is left."""
    events = train(make_job(num_epochs=2))

    steps = events.of("step")
    assert list(range(1, 13)) == [event["step"] for event in steps]
    assert (0.1667, 1.0, 2.0) == (steps[0]["epoch"], steps[5]["epoch"], steps[11]["epoch"])
    assert 0 == steps[-1]["seconds_left"]
    assert all(math.isfinite(event["grad_norm"]) and event["memory"] > 2**20 for event in steps)


def test_a_diverging_run_is_stopped(make_job, train) -> None:
    """A loss that is no number any more is told at its step, not trained on."""
    with pytest.raises(InvalidConfig, match=r"training diverged at step \d+") as caught:
        train(make_job(learning_rate=1e20, num_epochs=5))

    assert caught.value.remedy == "lower learning_rate"


def test_a_model_without_chat_template(make_job, train, make_model, tmp_path) -> None:
    """It gets the plain one, the log says so, and the adapter brings it along."""
    folder: Path = make_job(base_model=str(make_model(tmp_path / "base", chat_template=None)), max_steps=1)

    events = train(folder)

    assert "the model has no chat template; a plain one is used and saved with the adapter" in events.messages()
    assert PLAIN_TEMPLATE == (folder / "artifact" / "chat_template.jinja").read_text()


def test_columns_that_are_not_used_are_named(make_job, train, tmp_path) -> None:
    """Nothing of the dataset is left out in silence."""
    path = tmp_path / "more.jsonl"
    path.write_text(json.dumps({"prompt": "Q", "completion": "A", "source": "x"}) + "\n")

    assert "columns that the format does not use: source" in train(make_job(dataset_path=str(path))).messages()


def test_the_artifact_tells_nothing_of_this_machine(make_job, train, tmp_path) -> None:
    """No path of the user's disk is in any of its files."""
    folder: Path = make_job(max_steps=1, project_name="names")

    train(folder)

    for path in (folder / "artifact").iterdir():
        assert str(tmp_path.parent).encode() not in path.read_bytes(), path.name


def test_a_finished_job_is_not_trained_again(make_job, train) -> None:
    """With a whole artifact in place there is nothing to do but to say so."""
    folder: Path = make_job(max_steps=1)
    artifact = train(folder).of("artifact")

    assert artifact == list(train(folder))


def test_a_damaged_artifact_is_not_passed_off_as_whole(make_job, train) -> None:
    """What does not agree with its manifest is told."""
    folder: Path = make_job(max_steps=1)
    train(folder)
    (folder / "artifact" / "README.md").write_text("changed")

    with pytest.raises(InvalidConfig, match=r"damaged: README\.md has"):
        train(folder)
