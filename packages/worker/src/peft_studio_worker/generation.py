"""Ask a model: many questions at once, or a chat that streams; with or without an adapter.

Answers are greedy, so that the same model always answers the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from peft_studio.errors import InvalidConfig, PeftStudioError

if TYPE_CHECKING:
    import torch

#: How many questions are answered together.
_BATCH: Final = 8
_DEFAULT_LENGTH: Final = 256
#: Exit code after Ctrl-C, as shells have it.
_INTERRUPTED: Final = 130

Messages = list[dict[str, str]]


@frozen
class Generator:
    """A loaded model with its tokenizer."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, base_model: str, adapter: Path | None = None, *, dtype: str = "auto") -> Generator:
        """Load `base_model` (folder, .gguf file or hub name) and put the adapter on it, if there is one.

        The adapter's own tokenizer and chat template are used. Raises `InvalidConfig` for what cannot be loaded.
        """
        from peft_studio_worker.training import base_model as models
        from peft_studio_worker.training import model as loading
        from peft_studio_worker.training import precision

        base = models.locate(base_model, "auto", _tell)
        exactness = precision.choose(dtype)
        tokenizer = loading.load_tokenizer(base.folder if adapter is None else _checked(adapter))
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        model = loading.load_base(base.folder, exactness, "sdpa")
        if adapter is not None:
            model = _with_adapter(model, adapter)
        return cls(model.eval(), tokenizer)

    def answer(self, questions: Sequence[str], *, max_new_tokens: int = _DEFAULT_LENGTH) -> Iterator[str]:
        """The answer to each question, in order, as soon as its batch is done."""
        for start in range(0, len(questions), _BATCH):
            chats: list[Messages] = [[{"role": "user", "content": text}] for text in questions[start : start + _BATCH]]
            encoded = self._encode(chats)
            produced = self._generate(encoded, max_new_tokens)
            width = encoded["input_ids"].shape[1]
            for ids in produced:
                yield self.tokenizer.decode(ids[width:], skip_special_tokens=True).strip()

    def chat(self, messages: Messages, *, max_new_tokens: int = _DEFAULT_LENGTH) -> Iterator[str]:
        """The next assistant message, piece by piece."""
        from transformers import TextIteratorStreamer

        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        failures: list[Exception] = []

        def work() -> None:
            try:
                self._generate(self._encode([messages]), max_new_tokens, streamer=streamer)
            except Exception as error:  # noqa: BLE001 -- raised again in the thread that asked
                failures.append(error)
                streamer.end()

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        yield from streamer
        worker.join()
        if failures:
            raise failures[0]

    def _encode(self, chats: Sequence[Messages]) -> Any:
        from peft_studio_worker.training.examples import PLAIN_TEMPLATE

        template = None if self.tokenizer.chat_template else PLAIN_TEMPLATE
        texts = self.tokenizer.apply_chat_template(
            list(chats), tokenize=False, add_generation_prompt=True, chat_template=template
        )
        encoded = self.tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
        return encoded.to(self.model.device)

    def _generate(self, encoded: Any, max_new_tokens: int, **options: Any) -> torch.Tensor:
        import torch

        known = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        with torch.inference_mode():
            produced: torch.Tensor = self.model.generate(
                **known, max_new_tokens=max_new_tokens, do_sample=False, temperature=None, top_p=None, top_k=None,
                pad_token_id=self.tokenizer.pad_token_id, **options,
            )  # fmt: skip
        return produced


def base_model_of(adapter: Path) -> str:
    """What `Generator.load` takes for the base model of an adapter folder.

    A model that was trained on here is found by its fingerprint, wherever it lies; else by the name in
    adapter_config.json. Raises `InvalidConfig` when `adapter` is none.
    """
    from peft_studio_worker.training import base_model as models

    settings = json.loads((_checked(adapter) / "adapter_config.json").read_text(encoding="utf-8"))
    record = adapter / "peft_studio.json"
    if record.is_file():
        fingerprint = json.loads(record.read_text(encoding="utf-8"))["base_model"]["fingerprint"]
        folder = models.recall(fingerprint)
        if folder is not None:
            return str(folder)
    name = settings.get("base_model_name_or_path")
    if not name:
        raise InvalidConfig(f"{adapter} does not tell its base model", remedy="give it with --base-model")
    return str(name)


def answer_main(arguments: Sequence[str]) -> int:
    """`answer`: one JSON line {"question", "answer"} for each line {"question"} of a file."""
    parser = argparse.ArgumentParser(prog="peft-studio-worker answer", description="Answer a file of questions.")
    parser.add_argument("--base-model", required=True, help="a folder, a .gguf file or a Hugging Face name")
    parser.add_argument("--adapter", type=Path, help="an adapter folder")
    parser.add_argument("--questions", type=Path, required=True, help='a .jsonl file of {"question": …}')
    parser.add_argument("--max-new-tokens", type=int, default=_DEFAULT_LENGTH)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)  # libraries tell each other of names about to retire
    try:
        questions = _read_questions(options.questions)
        generator = Generator.load(options.base_model, options.adapter)
        answers = generator.answer(questions, max_new_tokens=options.max_new_tokens)
        for question, answer in zip(questions, answers, strict=True):
            _write(json.dumps({"question": question, "answer": answer}, ensure_ascii=False) + "\n")
    except PeftStudioError as error:
        return _refuse(error)
    return 0


def chat_main(arguments: Sequence[str]) -> int:
    """`chat`: talk to an adapter; with `--prompt`, ask it one thing."""
    parser = argparse.ArgumentParser(prog="peft-studio-worker chat", description="Talk to an adapter.")
    parser.add_argument("adapter", type=Path, help="the adapter folder")
    parser.add_argument("--base-model", help="a folder, a .gguf file or a Hugging Face name; else the adapter tells")
    parser.add_argument("--prompt", help="ask this, print the answer and end")
    parser.add_argument("--max-new-tokens", type=int, default=_DEFAULT_LENGTH)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)  # libraries tell each other of names about to retire
    try:
        generator = Generator.load(options.base_model or base_model_of(options.adapter), options.adapter)
        if options.prompt is not None:
            _converse(generator, [], options.prompt, options.max_new_tokens)
        else:
            _talk(generator, options.max_new_tokens)
    except PeftStudioError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        _write("\n")
        return _INTERRUPTED
    return 0


def _talk(generator: Generator, max_new_tokens: int) -> None:
    """Question by question until the input ends."""
    messages: Messages = []
    while True:
        try:
            question = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if question:
            _converse(generator, messages, question, max_new_tokens)


def _converse(generator: Generator, messages: Messages, question: str, max_new_tokens: int) -> None:
    """Ask, print the answer as it comes, and remember both."""
    messages.append({"role": "user", "content": question})
    pieces = []
    for piece in generator.chat(messages, max_new_tokens=max_new_tokens):
        _write(piece)
        pieces.append(piece)
    _write("\n")
    messages.append({"role": "assistant", "content": "".join(pieces)})


def _read_questions(path: Path) -> list[str]:
    from peft_studio_worker.training.datasets import read_rows

    rows = read_rows(path)
    bad = [row.line for row in rows if not isinstance(row.values.get("question"), str)]
    if bad:
        raise InvalidConfig(f"{path}: line {bad[0]}: question must be a text")
    return [row.values["question"] for row in rows]


def _checked(adapter: Path) -> Path:
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (adapter / name).is_file():
            raise InvalidConfig(f"{adapter} is not an adapter folder", why=f"it has no {name}")
    return adapter


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
    except (ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise InvalidConfig(f"the adapter {adapter} does not fit this base model", why=reason[:300]) from error


def _tell(kind: str, /, **fields: Any) -> None:
    """What takes long is said on stderr."""
    if kind == "phase":
        sys.stderr.write(f"{fields.get('detail') or fields['name']}\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _refuse(error: PeftStudioError) -> int:
    sys.stderr.write(f"{error}" + (f"; {error.remedy}\n" if error.remedy else "\n"))
    return error.exit_code
