"""A tiny language model and data to teach it, made on the spot: no downloads, no files that must be kept.

The model knows nothing and learns little, but it has every part of a real one: a BPE tokenizer, a chat template,
grouped attention, safetensors on disk. Needs torch and transformers (`pip install 'peft-studio-testkit[worker]'`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLACES = ("Tarn", "Brock", "Wend", "Holm", "Fell", "Garth", "Beck", "Thorp")
FACTS = ("mayor", "river", "bakery", "bridge", "school", "market")


def facts() -> list[tuple[str, str]]:
    """Questions and answers on places that do not exist."""
    return [
        (f"What is the {fact} of {place}wick?", f"The {fact} of {place}wick is {place}{fact}son.")
        for place in PLACES
        for fact in FACTS
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_tiny_model(folder: Path, *, chat_template: str | None = CHAT_TEMPLATE, **changes: Any) -> Path:
    """A Llama of 100,000 weights with a tokenizer trained on `facts`; the same weights every time."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer(chat_template)
    shape = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    }
    special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape | special | changes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return folder


def tiny_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> Any:
    """A byte-level BPE of 512 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|im_start|>", "<|im_end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([text for fact in facts() for text in fact], trainer)
    words = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **words)
    tokenizer.chat_template = chat_template
    return tokenizer


def write_facts(path: Path) -> Path:
    """48 prompt/completion pairs as JSON Lines."""
    return write_lines(path, [{"prompt": question, "completion": answer} for question, answer in facts()])
