"""RunPod's own OpenAPI document of REST v2 as a judge: of what arrives, and, in tests, of what the sandbox answers.

`rest-v2.openapi.json` is cut down from RunPod's document (Apache-2.0): it names its source and what was changed. The
sentences are those of RunPod's validator as far as any were seen; the others follow their style.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from peft_studio_runpod.sandbox.problems import Refusal

DOCUMENT: Final = Path(__file__).with_name("rest-v2.openapi.json")
_BASE: Final = "urn:runpod"
_EXTRA: Final = ("additionalProperties", "unevaluatedProperties")
#: What JSON Schema calls a type by Python's name of it.
_TYPES: Final = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


def require_body(schema: str, value: Any) -> dict[str, Any]:
    """The body, when it is as the schema wants it; else 422 with every fault."""
    errors = [_sentence(error) for error in _errors(f"/components/schemas/{schema}", value)]
    if errors:
        raise Refusal(422, "Request validation failed.", errors=list(dict.fromkeys(errors)))
    assert isinstance(value, dict)
    return value


def require_query(path: str, given: list[tuple[str, str]]) -> dict[str, Any]:
    """The query as values; 422 for a wrong one, or one that came twice. Unknown parameters pass, as at RunPod."""
    known = dict(_query_parameters(path))
    errors: list[str] = []
    values: dict[str, Any] = {}
    for name, text in given:
        if name not in known:
            continue
        if name in values:
            errors.append(f"parameter '{name}' is not exploded, but is specified multiple times")
        pointer, parameter = known[name]
        values[name] = _value(parameter, text)
        errors += [f"parameter '{name}': {_sentence(each)}" for each in _errors(f"{pointer}/schema", values[name])]
    if errors:
        raise Refusal(422, "Request validation failed.", errors=errors)
    return values


def answer_complaints(method: str, path: str, status: int, value: Any) -> list[str]:
    """What the document has against an answer of the sandbox."""
    pointer = f"/paths/{_escaped(path)}/{method.lower()}/responses/{status}/content/application~1json/schema"
    return [_sentence(error) for error in _errors(pointer, value)]


def _query_parameters(path: str) -> Iterator[tuple[str, tuple[str, Mapping[str, Any]]]]:
    pointer = f"/paths/{_escaped(path)}/get/parameters"
    for number in range(len(_at(pointer)[1])):
        place, parameter = _at(f"{pointer}/{number}")
        if parameter["in"] == "query":
            yield parameter["name"], (place, parameter)


def _value(parameter: Mapping[str, Any], text: str) -> Any:
    """The text of a parameter as the value that it can only mean; a list is one text with commas."""
    schema = parameter["schema"]
    while "$ref" in schema:
        schema = _at(schema["$ref"].removeprefix("#"))[1]
    match schema.get("type"):
        case "array":
            return text.split(",")
        case "integer" if re.fullmatch(r"-?\d+", text):
            return int(text)
        case "boolean" if text in ("true", "false"):
            return text == "true"
    return text


def _errors(pointer: str, value: Any) -> list[Any]:
    errors = sorted(_validator(pointer).iter_errors(value), key=lambda error: str(error.json_path))
    return [error for error in errors if error.validator not in _EXTRA or _extra(error)]


def _extra(error: Any) -> list[str]:
    """The unknown names; what is known and wrong counts as unknown for JSON Schema, too, and is left out."""
    return sorted(set(error.instance) - set(_known(error.schema)))


def _known(schema: Mapping[str, Any]) -> Iterator[str]:
    """Every property that the schema names, through references and parts."""
    if "$ref" in schema:
        schema = _at(schema["$ref"].removeprefix("#"))[1]
    yield from schema.get("properties", ())
    for part in schema.get("allOf", ()):
        yield from _known(part)


def _sentence(error: Any) -> str:
    return f"{error.json_path}: {_complaint(error)}"


def _complaint(error: Any) -> str:
    wanted, found = error.validator_value, error.instance
    match error.validator:
        case "required":
            missing = re.search(r"'([^']*)'", error.message)
            return f"missing property '{missing[1] if missing else ''}'"
        case _ if error.validator in _EXTRA and wanted is False:
            names = ", ".join(f"'{name}'" for name in _extra(error))
            return f"additional properties {names} not allowed"
        case "type":
            kinds = " or ".join([wanted] if isinstance(wanted, str) else wanted)
            return f"got {_TYPES.get(type(found), 'null')}, want {kinds}"
        case "enum":
            return "value must be one of " + ", ".join(f"'{choice}'" for choice in wanted)
        case "minimum" | "maximum":
            return f"{error.validator}: got {found}, want {wanted}"
        case "minLength" | "maxItems" | "minProperties":
            return f"{error.validator}: got {len(found)}, want {wanted}"
        case "pattern":
            return f"'{found}' does not match pattern '{wanted}'"
    return str(error.message)


@cache
def _validator(pointer: str) -> Any:
    import openapi_schema_validator as schemas
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    registry: Any = Registry().with_resource(_BASE, DRAFT202012.create_resource(_document()))
    reference = {"$ref": f"{_BASE}#{pointer}"}
    return schemas.OAS31Validator(reference, registry=registry, format_checker=schemas.oas31_format_checker)


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return document


def _at(pointer: str) -> tuple[str, Any]:
    """What stands at `pointer`, and where it really stands when it is a reference."""
    value: Any = _document()
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value.get(key, {})
    if isinstance(value, Mapping) and "$ref" in value:
        return _at(value["$ref"].removeprefix("#"))
    return pointer, value


def _escaped(path: str) -> str:
    return path.replace("~", "~0").replace("/", "~1")
