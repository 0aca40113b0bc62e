"""`transformers` and `peft` push a model and its adapter, and load them back. Prints what they computed."""

import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
base = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
base.push_to_hub("me/tiny-base", private=True)
adapter = get_peft_model(
    AutoModelForCausalLM.from_pretrained("me/tiny-base"),
    LoraConfig(r=2, init_lora_weights=False, task_type="CAUSAL_LM"),
)
adapter.push_to_hub("me/tiny-lora", private=True)
loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("me/tiny-base"), "me/tiny-lora")
tokens = torch.arange(8)[None]
with torch.no_grad():
    plain, pushed, came = (model.eval()(tokens).logits for model in (base, adapter, loaded))
json.dump(
    {
        "same as pushed": torch.equal(pushed, came),
        "same as the base": torch.allclose(plain, came),
        "base": loaded.peft_config["default"].base_model_name_or_path,
    },
    sys.stdout,
)
