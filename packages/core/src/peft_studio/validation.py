"""Is it a connector? Structure only: nothing is instantiated and nothing is called.

A class is measured against `PlatformConnector`, whose signatures are the documentation. It need not use the capability
classes: flags set by hand and methods on one class are as good, as long as what a flag declares is there.
"""

from __future__ import annotations

import inspect
from typing import Any

from peft_studio.connector import PlatformConnector
from peft_studio.records import FEATURES, Finding, Severity, Stage

ATTRIBUTES = ("name", "display_name", "description", "version")

#: What each flag declares. A tuple in place of a name: any one of these will do.
REQUIRED: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "training": (
        "submit_job", "get_job_status", "stream_logs", ("download_artifact", "fetch_artifact"), "list_resources",
        "get_pricing",
    ),
    "inference": ("deploy_model", "get_endpoint_url", "invoke_endpoint", "list_deployments", "stop_deployment"),
    "registry": ("upload_artifact", "search_models", "get_model_metadata", "download_model"),
    "tracking": ("start_run", "log_metrics", "log_text", "finish_run", "get_metrics", "upload_artifact"),
}  # fmt: skip

#: A flag without any of its methods is a promise for later here, and a fault everywhere else.
_MAY_BE_EMPTY = ("inference",)

#: Methods that hand out an async iterator; those that are called without await; those where both are fine.
_ITERATORS = ("stream_logs", "stream_events")
_PLAIN = ("get_required_credentials",)
_EITHER = ("validate_config",)

DOCUMENTED = tuple(
    name for name, member in vars(PlatformConnector).items() if inspect.isfunction(member) and not name.startswith("_")
)


def validate(candidate: Any) -> list[Finding]:
    """Everything that keeps `candidate` from being a connector class, and what is odd about it; one finding each."""
    if not inspect.isclass(candidate):
        return [_not_a_class(candidate)]
    findings = _attribute_faults(candidate) + _flag_faults(candidate)
    required = _required(candidate, findings)
    missing = [name for name in required if not _is_written(candidate, name)]
    findings += [_missing(candidate, name, required[name]) for name in missing]
    findings += [
        _fault(f"{candidate.__name__}.{name} is abstract and not written", f"write {_expected(name)}")
        for name in sorted(getattr(candidate, "__abstractmethods__", ()))
        if name not in missing
    ]
    findings += [fault for name in DOCUMENTED if (fault := _method_fault(candidate, name)) is not None]
    return findings + _observed_faults(candidate) + _construction_faults(candidate)


def features_of(connector: type) -> tuple[str, ...]:
    """Features that the class declares."""
    return tuple(feature for feature in FEATURES if getattr(connector, f"supports_{feature}", False) is True)


def _not_a_class(candidate: Any) -> Finding:
    kind = type(candidate).__name__
    if candidate is None:
        return _fault("peft_studio_connector returned None; it must return the connector class", "return the class")
    if isinstance(candidate, PlatformConnector) or hasattr(candidate, "connect"):
        return _fault(
            f"peft_studio_connector returned an instance of {kind}; it must return the class",
            f"return {kind}, not {kind}()",
        )
    return _fault(
        f"peft_studio_connector returned {candidate!r} ({kind}); it must return the connector class", "return the class"
    )


def _attribute_faults(candidate: type) -> list[Finding]:
    faults = []
    for name in ATTRIBUTES:
        value = getattr(candidate, name, None)
        if isinstance(value, str) and value.strip():
            continue
        place = f"{candidate.__name__}.{name}"
        message = f"{place} is missing" if value is None else f"{place} must be a text, not {value!r}"
        faults.append(_fault(message, f'write {name} = "..." in the class'))
    return faults


def _flag_faults(candidate: type) -> list[Finding]:
    flags = {f"supports_{feature}": getattr(candidate, f"supports_{feature}", False) for feature in FEATURES}
    faults = [
        _fault(f"{candidate.__name__}.{flag} must be True or False, not {value!r}", f"write {flag} = True or False")
        for flag, value in flags.items()
        if not isinstance(value, bool)
    ]
    if not faults and not any(flags.values()):
        remedy = "set a flag such as supports_training = True, or subclass TrainingConnector"
        faults.append(
            _warning(f"{candidate.__name__} declares no feature, so nothing will ever be asked of it", remedy)
        )
    return faults


def _required(candidate: type, findings: list[Finding]) -> dict[str, str]:
    """Methods that must be written, each with the reason. A promise for later becomes a warning in `findings`."""
    required = {"connect": "every connector", "disconnect": "every connector"}
    if not issubclass(candidate, PlatformConnector):
        for name in ("verify_connection", "get_required_credentials", "validate_config"):
            required[name] = "a class that is no PlatformConnector"
    for feature in features_of(candidate):
        wanted = [_choice(candidate, names) for names in REQUIRED[feature]]
        if feature in _MAY_BE_EMPTY and not any(_is_written(candidate, name) for name in wanted):
            message = f"{candidate.__name__} sets supports_{feature} and has no method for it"
            findings.append(_warning(message, f"write {', '.join(wanted)}, or set supports_{feature} = False"))
            continue
        required |= {name: f"supports_{feature}" for name in wanted if name not in required}
    return required


def _choice(candidate: type, names: str | tuple[str, ...]) -> str:
    """The name itself; of several that will do, the one that is written, else the first."""
    if isinstance(names, str):
        return names
    return next((name for name in names if _is_written(candidate, name)), names[0])


def _is_written(candidate: type, name: str) -> bool:
    """True when the class has its own method, neither abstract nor the base's refusal."""
    method = getattr(candidate, name, None)
    return (
        method is not None
        and method is not getattr(PlatformConnector, name, None)
        and name not in getattr(candidate, "__abstractmethods__", ())
    )


def _missing(candidate: type, name: str, reason: str) -> Finding:
    because = f"{reason} needs it" if reason.startswith(("every", "a class")) else f"{reason} declares it"
    return _fault(f"{candidate.__name__}.{name} is missing; {because}", f"write {_expected(name)}")


def _method_fault(candidate: type, name: str) -> Finding | None:
    """The first thing wrong with one method that the class has written itself."""
    if not _is_written(candidate, name):
        return None
    method = getattr(candidate, name)
    place = f"{candidate.__name__}.{name}"
    if not callable(method):
        return _fault(f"{place} is of type {type(method).__name__}, not a method", f"write {_expected(name)}")
    return _kind_fault(place, name, inspect.unwrap(method)) or _argument_fault(candidate, place, name, method)


def _kind_fault(place: str, name: str, method: Any) -> Finding | None:
    """Async where async is due, and only there."""
    remedy = f"write {_expected(name)}"
    is_coroutine = inspect.iscoroutinefunction(method)
    is_async_generator = inspect.isasyncgenfunction(method)
    if name in _PLAIN:
        is_async = is_coroutine or is_async_generator
        return _fault(f"{place} is async; it is called without await", remedy) if is_async else None
    if name in _EITHER or is_coroutine:
        return None
    if name in _ITERATORS:
        if is_async_generator or "Async" in _answer(method):
            return None
        return _fault(f"{place} is synchronous; it must be an async generator or return an async iterator", remedy)
    if is_async_generator:
        return _fault(f"{place} is an async generator; it must return its answer at once", remedy)
    if any(word in _answer(method) for word in ("Awaitable", "Coroutine", "Future", "Task")):
        return None
    return _fault(f"{place} is synchronous; it must be async", remedy)


def _answer(method: Any) -> str:
    """The return annotation as text, which is all that is needed of it."""
    annotation = getattr(method, "__annotations__", {}).get("return", "")
    return annotation if isinstance(annotation, str) else str(annotation)


def _argument_fault(candidate: type, place: str, name: str, method: Any) -> Finding | None:
    """Every documented argument must be accepted by its name, in the documented order, and no other be demanded."""
    signature = _bound_signature(candidate, name, method)
    if signature is None:
        return None
    documented = _documented(name)
    try:
        signature.bind(**dict.fromkeys(documented))
    except TypeError:
        return _fault(f"{place} takes {_shown(signature)}, not ({', '.join(documented)})", f"write {_expected(name)}")
    positional = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    ordered = [argument for argument in positional if argument in documented]
    if ordered != [argument for argument in documented if argument in ordered]:
        return _fault(
            f"{place} takes {_shown(signature)}; the order is ({', '.join(documented)})", f"write {_expected(name)}"
        )
    return None


def _bound_signature(candidate: type, name: str, method: Any) -> inspect.Signature | None:
    """The signature without self; None for what cannot be known, such as a method written in C."""
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        return None
    if isinstance(inspect.getattr_static(candidate, name), staticmethod | classmethod):
        return signature
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _documented(name: str) -> list[str]:
    """Names of the arguments in the documented signature, without self and open-ended ones."""
    parameters = list(inspect.signature(getattr(PlatformConnector, name)).parameters.values())[1:]
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _expected(name: str) -> str:
    """The first line of the method as it is documented."""
    prefix = "def" if name in _PLAIN + _EITHER else "async def"
    return f"{prefix} {name}({', '.join(['self', *_documented(name)])})"


def _shown(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"


def _observed_faults(candidate: type) -> list[Finding]:
    """`observed` is read, not called."""
    if not inspect.isroutine(inspect.getattr_static(candidate, "observed", None)):
        return []
    return [_fault(f"{candidate.__name__}.observed is a method; it is read, not called", "write @property above it")]


def _construction_faults(candidate: type) -> list[Finding]:
    """The manager makes the connector without arguments; credentials come with `connect`."""
    try:
        inspect.signature(candidate).bind()
    except TypeError as error:
        remedy = "give the arguments of __init__ defaults; credentials come with connect"
        return [_fault(f"{candidate.__name__} cannot be made without arguments ({error})", remedy)]
    except ValueError:
        return []
    return []


def _fault(message: str, remedy: str) -> Finding:
    return Finding(stage=Stage.VALIDATION, message=message, remedy=remedy)


def _warning(message: str, remedy: str) -> Finding:
    return Finding(stage=Stage.VALIDATION, message=message, remedy=remedy, severity=Severity.WARNING)
