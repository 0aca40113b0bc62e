"""What a model would say, had anybody loaded one: the shapes of OpenAI's API, and of the default engine's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

WORDS: Final = "The sandbox has no model."
_USAGE: Final = {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}


def answer_to(place: str, payload: Mapping[str, Any], model: str) -> Any:
    """The answer at that place below an endpoint's address, of the model that was asked for."""
    named = payload.get("model", model)
    if place.endswith("/chat/completions"):
        return chat(named)
    if place.endswith("/completions"):
        choice = {"index": 0, "text": WORDS, "finish_reason": "stop"}
        return {"id": "cmpl-1", "object": "text_completion", "model": named, "choices": [choice], "usage": _USAGE}
    if place.endswith("/embeddings"):
        return {"object": "list", "model": named, "data": [{"object": "embedding", "index": 0, "embedding": [0.0]}]}
    return [{"generated_text": WORDS}]


def chat(model: str) -> dict[str, Any]:
    """One message."""
    choice = {"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": [choice], "usage": _USAGE}
