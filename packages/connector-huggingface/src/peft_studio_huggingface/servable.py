"""What an endpoint is asked to serve, and how: the body of its creation.

An adapter is no model: it is served by vLLM, on top of the base model that it was made from. The endpoint has the
adapter's own repository, which may be private, as the folder `/repository`; the base model comes from the Hub.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from attrs import Attribute, field, fields, frozen
from attrs.validators import in_, instance_of, optional

from peft_studio import InvalidConfig, Problem
from peft_studio_huggingface.endpoints import Instance
from peft_studio_huggingface.portable import is_hub_name
from peft_studio_huggingface.reading import text, whole
from peft_studio_huggingface.repository import Model
from peft_studio_huggingface.settings import Settings

ENGINES: Final = ("vllm", "huggingface")
TYPES: Final = ("authenticated", "public", "private")
#: Ranks that vLLM makes room for. Source: its option --max-lora-rank.
_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
_PORT: Final = 8000
#: Letters of an endpoint's name. The length is what the platform's own page takes; no document states it.
_LONGEST: Final = 32
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


def _replicas(least: int) -> Callable[[Any, Attribute[Any], Any], None]:
    def check(options: Any, attribute: Attribute[Any], value: Any) -> None:
        if whole(value) is None or value < least:
            raise ValueError(f"a whole number of at least {least}")

    return check


def _name(options: Any, attribute: Attribute[str | None], value: Any) -> None:
    if value is not None and not (isinstance(value, str) and _NAME.fullmatch(value)):
        raise ValueError(f"at most {_LONGEST} small letters, digits and hyphens")


@frozen(kw_only=True)
class Options:
    """What `deploy_model` takes beside the model."""

    #: Made of the model and of everything else here, so that the same again is the same endpoint.
    name: str | None = field(default=None, validator=_name)
    instance: str | None = field(default=None, validator=optional(instance_of(str)))
    #: 0 lets it scale to zero.
    min_replica: int = field(default=0, validator=_replicas(0))
    max_replica: int = field(default=1, validator=_replicas(1))
    #: Minutes without a request.
    scale_to_zero_minutes: int = field(default=15, validator=_replicas(1))
    #: Who may ask it: those with a token that may read the model, everybody, or a private network.
    type: str = field(default="authenticated", validator=in_(TYPES))
    engine: str | None = field(default=None, validator=optional(in_(ENGINES)))
    base_model: str | None = field(default=None, validator=optional(instance_of(str)))
    task: str | None = field(default=None, validator=optional(instance_of(str)))

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Raises `InvalidConfig` with every fault."""
        known = {each.name: each for each in fields(cls)}
        problems = [Problem(field=name, message=f"there is no option {name}") for name in given if name not in known]
        for name in (name for name in given if name in known):
            try:
                cls(**{name: given[name]})
            except (TypeError, ValueError) as fault:
                kind = fault.args[0] if isinstance(fault, ValueError) and len(fault.args) == 1 else _words(name)
                problems.append(Problem(field=name, message=f"{name} must be {kind}, not {given[name]!r}"))
        if problems:
            raise InvalidConfig.from_problems("options of the deployment", problems)
        return cls(**given)


def _words(name: str) -> str:
    return {"type": f"one of {', '.join(TYPES)}", "engine": f"one of {', '.join(ENGINES)}"}.get(name, "a text")


@frozen(kw_only=True)
class Servable:
    """A model, or an adapter with the model that it belongs to."""

    model: Model
    #: The commit that is served.
    revision: str
    #: `adapter_config.json`; None for a model.
    adapter: Mapping[str, Any] | None
    options: Options

    def __attrs_post_init__(self) -> None:
        """Raises `InvalidConfig` for an adapter that no engine here can serve."""
        if self.adapter is None or self.engine != "vllm":
            return
        kind = str(self.adapter.get("peft_type", "LORA")).upper()
        obstacle = f"it is {kind}" if kind != "LORA" else "it is DoRA" if self.adapter.get("use_dora") else None
        if obstacle is not None or self.base_model is None:
            what = f"{self.model.id} cannot be served as an adapter"
            remedy = (
                "merge it into its base model and deploy that" if obstacle else "give base_model, its id on the Hub"
            )
            raise InvalidConfig(what, why=obstacle or "nobody says which base model it is for", remedy=remedy)
        if self.rank > _RANKS[-1]:
            raise InvalidConfig(f"{self.model.id} has rank {self.rank}", why=f"vLLM serves up to {_RANKS[-1]}")

    @property
    def engine(self) -> str:
        """Adapters need one that loads them."""
        return self.options.engine or ("huggingface" if self.adapter is None else "vllm")

    @property
    def base_model(self) -> str | None:
        """What the adapter belongs to, on the Hub."""
        written = text((self.adapter or {}).get("base_model_name_or_path"))
        return self.options.base_model or next(filter(is_hub_name, (written, self.model.base_model)), None)

    @property
    def rank(self) -> int:
        """Of the adapter, its largest."""
        adapter = self.adapter or {}
        pattern = adapter.get("rank_pattern")
        ranks = [whole(adapter.get("r")), *map(whole, pattern.values() if isinstance(pattern, Mapping) else ())]
        return max((rank for rank in ranks if rank is not None), default=_RANKS[-1])

    @property
    def name(self) -> str:
        """The endpoint's name: the same for the same wish, so that none is made twice."""
        if self.options.name is not None:
            return self.options.name
        wish = [self.model.id, self.revision, *(getattr(self.options, each.name) for each in fields(Options))]
        digest = hashlib.sha256(json.dumps(wish).encode()).hexdigest()[:8]
        slug = re.sub(r"[^a-z0-9]+", "-", self.model.id.rpartition("/")[2].lower()).strip("-")
        return f"ps-{slug[: _LONGEST - 12].strip('-')}-{digest}"

    def body(self, instance: Instance, settings: Settings) -> dict[str, Any]:
        """POST /v2/endpoint/{namespace}."""
        options = self.options
        task = options.task or self.model.task or ("text-generation" if self.engine == "vllm" else None)
        return {
            "name": self.name,
            "type": options.type,
            "provider": {"vendor": instance.vendor, "region": instance.region},
            "compute": {
                "accelerator": instance.accelerator,
                "instanceType": instance.type,
                "instanceSize": instance.size,
                "scaling": {
                    "minReplica": options.min_replica,
                    "maxReplica": max(options.min_replica, options.max_replica),
                    "scaleToZeroTimeout": None if options.min_replica else options.scale_to_zero_minutes,
                },
            },
            "model": {
                "repository": self.model.id,
                "revision": self.revision,
                "framework": "pytorch",
                **({"task": task} if task else {}),  # which the API does not take as null
                **self._engine(settings),
            },
            "tags": ["peft-studio"],
        }

    def _engine(self, settings: Settings) -> dict[str, Any]:
        secrets = {"secrets": {"HF_TOKEN": settings.job_token}} if settings.job_token else {}
        if self.engine == "huggingface":
            return {"image": {"huggingface": {}}, **secrets}
        image = {"url": settings.serving_image, "port": _PORT, "healthRoute": "/health"}
        return {"image": {"custom": image}, "command": self._command(), **secrets}

    def _command(self) -> list[str]:
        model = ["/repository", "--served-model-name", self.model.id] if self.adapter is None else self._on_base()
        return ["vllm", "serve", *model, "--host", "0.0.0.0", "--port", str(_PORT)]  # noqa: S104 -- in a container

    def _on_base(self) -> list[str]:
        room = next(rank for rank in _RANKS if rank >= self.rank)
        lora = ["--enable-lora", "--max-lora-rank", str(room), "--lora-modules", f"{self.model.id}=/repository"]
        return [str(self.base_model), *lora]
