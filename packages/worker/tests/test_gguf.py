"""A GGUF file as base model: converted once, then a folder like any other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_studio_worker.training import base_model
from peft_studio_worker.training.model_card import Licence
from peft_studio_worker.training.session import train_job  # noqa: F401 -- heavy, and once for all tests

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def tiny_gguf(tiny_model, tmp_path_factory) -> Path:
    """The tiny model as llama.cpp would write it."""
    from safetensors.torch import load_file

    path: Path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    config = json.loads((tiny_model / "config.json").read_text())
    tokenizer = json.loads((tiny_model / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    add_tokenizer(writer, tokenizer, (tiny_model / "chat_template.jinja").read_text())
    for name, tensor in load_file(tiny_model / "model.safetensors").items():
        writer.add_tensor(*converted(name, tensor, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tokenizer(writer: Any, tokenizer: dict[str, Any], chat_template: str) -> None:
    """The vocabulary and merges of a byte-level BPE."""
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    special = {token["id"] for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([3 if number in special else 1 for _, number in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    writer.add_chat_template(chat_template)


NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def converted(name: str, tensor: torch.Tensor, config: dict[str, Any]) -> tuple[str, Any]:
    """A tensor under llama.cpp's name; queries and keys in the row order of its rotary embedding."""
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for key, count in heads.items():
        if key in name:
            rows, columns = tensor.shape
            tensor = tensor.reshape(count, 2, rows // count // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    short = name.removesuffix(".weight")
    if short.startswith("model.layers."):
        _, _, number, part = short.split(".", 3)
        return f"blk.{number}.{NAMES[part]}.weight", tensor.float().numpy().copy()
    return f"{NAMES[short]}.weight", tensor.float().numpy().copy()


class Phases(list[str]):
    """Collects the names of phases."""

    def __call__(self, kind: str, /, **fields: Any) -> None:
        if kind == "phase":
            self.append(fields["name"])


def test_converted_once(tiny_gguf, tmp_path) -> None:
    """The first use converts, and says so; the same content under another name is not converted again."""
    first, second = Phases(), Phases()
    copy = Path(shutil.copy(tiny_gguf, tmp_path / "other name.gguf"))

    found = base_model.locate(str(tiny_gguf), "auto", first)
    again = base_model.locate(str(copy), "auto", second)

    assert (["converting_model"], []) == (first, second)
    assert found.folder == again.folder
    assert ("tiny", "gguf") == (found.name, found.source)


def test_the_conversion_is_the_same_model(tiny_gguf, tiny_model) -> None:
    """The converted folder computes what the original does, with the same tokens and chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = base_model.locate(str(tiny_gguf), "auto", Phases()).folder
    ids = torch.arange(3, 43)[None]
    chat = [{"role": "user", "content": "What is the mayor of Tarnwick?"}]

    with torch.inference_mode():
        expected, found = (
            AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)(input_ids=ids).logits
            for path in (tiny_model, folder)
        )
    texts = [AutoTokenizer.from_pretrained(path).apply_chat_template(chat) for path in (tiny_model, folder)]

    torch.testing.assert_close(expected, found, rtol=1e-5, atol=1e-5)
    assert texts[0]["input_ids"] == texts[1]["input_ids"]


def test_the_licence_comes_along(tiny_gguf) -> None:
    """What the file states of its licence is kept in the folder."""
    folder = base_model.locate(str(tiny_gguf), "auto", Phases()).folder

    assert "apache-2.0" == Licence.of(folder).identifier


def test_training_on_it(tiny_gguf, make_job, train) -> None:
    """A job on a GGUF file learns, and its card has the licence."""
    folder: Path = make_job(base_model=str(tiny_gguf), num_epochs=2)

    events = train(folder)

    assert events.losses()[-1] < events.losses()[0] - 0.2
    assert "license: apache-2.0" in (folder / "artifact" / "README.md").read_text()
