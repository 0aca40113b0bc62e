"""The loop one writes by hand with transformers and peft: padded batches, all logits, float32.

Runs in TRL's environment, on the same versions of both as ours.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from training_settings import Settings, tell
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup


def main(settings: Settings) -> None:
    """Train, save the adapter, tell how it went."""
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    base = AutoModelForCausalLM.from_pretrained(settings.model, dtype=torch.float32)
    torch.manual_seed(settings.seed)
    model = get_peft_model(
        base,
        LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    model.train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, settings.steps)
    examples = [tokenise(tokenizer, row) for row in settings.rows()]

    stamps, losses, tokens = [], [], []
    for step in range(settings.steps):
        batch = pad(examples[step * settings.batch_size : (step + 1) * settings.batch_size], tokenizer.pad_token_id)
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        tokens.append(int(batch["attention_mask"].sum()))
        stamps.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
    tell(stamps, losses, tokens)


def tokenise(tokenizer: Any, row: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Token ids and labels; the question is not learnt."""
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
    ids = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False)
    return ids, [-100] * len(prompt) + ids[len(prompt) :]


def pad(examples: list[tuple[list[int], list[int]]], pad_id: int) -> dict[str, torch.Tensor]:
    """A batch, padded to its longest example."""
    width = max(len(ids) for ids, _ in examples)
    return {
        "input_ids": torch.tensor([ids + [pad_id] * (width - len(ids)) for ids, _ in examples]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in examples]),
        "labels": torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in examples]),
    }


if __name__ == "__main__":
    main(Settings.load(sys.argv[1]))
