"""The platform's own OpenAPI document as a judge of what a connector sends: path, parameters and body.

Without it a sandbox accepts whatever its author thought of; with it, what the platform has written down.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field

from peft_studio.errors import InvalidConfig, PeftStudioError
from peft_studio_testkit.sandbox.received import Received

_BASE: Final = "urn:openapi"


@cache
def load_contract(path: Path) -> Contract:
    """The document in `path`, JSON or YAML. Raises `InvalidConfig`."""
    if find_spec("openapi_schema_validator") is None:
        remedy = "pip install 'peft-studio-testkit[openapi]'"
        raise PeftStudioError("validating against an OpenAPI document needs more packages", remedy=remedy)
    try:
        document = _read(path)
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"the OpenAPI document {path} cannot be read", why=str(error)) from error
    if not isinstance(document, dict) or not str(document.get("openapi", "")).startswith("3."):
        raise InvalidConfig(f"{path} is not an OpenAPI 3 document")
    return Contract(document)


@define
class Operation:
    """One method of one path, with where it stands in the document."""

    pointer: str
    parameters: list[tuple[str, Mapping[str, Any]]]
    #: Values of the path's placeholders in this request.
    path_values: dict[str, str]


@define
class Contract:
    """A document, and what it says of a request."""

    document: Mapping[str, Any]
    _validators: dict[str, Any] = field(factory=dict, init=False, repr=False)

    def violations(self, received: Received) -> list[str]:
        """Everything about the request that the document does not allow, one sentence each."""
        place = f"{received.method} {received.path}"
        found = self._operation(received)
        if isinstance(found, str):
            return [f"{place}: {found}"]
        complaints = [*self._parameter_complaints(found, received), *self._body_complaints(found, received)]
        return [f"{place}: {complaint}" for complaint in complaints]

    # Which operation it is.

    def _operation(self, received: Received) -> Operation | str:
        for template in sorted(self.document.get("paths", {}), key=lambda path: path.count("{")):
            match = self._pattern(template).fullmatch(received.path)
            if match is None:
                continue
            pointer, item = self._resolve(f"/paths/{_escaped(template)}")
            method = received.method.lower()
            if method not in item:
                return f"{template} has no {received.method}"
            operation = self._resolve(f"{pointer}/{method}")[1]
            names = re.findall(r"\{([^}]*)\}", template)
            parameters = [*self._parameters(pointer, item), *self._parameters(f"{pointer}/{method}", operation)]
            return Operation(f"{pointer}/{method}", parameters, dict(zip(names, match.groups(), strict=True)))
        return "there is no such path"

    def _pattern(self, template: str) -> re.Pattern[str]:
        prefixes = {urlsplit(server.get("url", "")).path.rstrip("/") for server in self.document.get("servers", ())}
        start = "|".join(re.escape(prefix) for prefix in sorted({"", *prefixes}))
        parts = re.split(r"\{[^}]*\}", template)
        return re.compile(f"(?:{start})" + "([^/]+)".join(re.escape(part) for part in parts))

    def _parameters(self, pointer: str, holder: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for number in range(len(holder.get("parameters", ()))):
            yield self._resolve(f"{pointer}/parameters/{number}")

    # Parameters.

    def _parameter_complaints(self, operation: Operation, received: Received) -> Iterator[str]:
        known = {
            (parameter["in"], parameter["name"]): (pointer, parameter) for pointer, parameter in operation.parameters
        }
        for (place, name), (pointer, parameter) in known.items():
            raw = _raw_values(parameter, operation, received)
            if not raw:
                if parameter.get("required"):
                    yield f"the {place} parameter {name} is missing"
            elif place != "cookie":
                yield from self._value_complaints(f"the {place} parameter {name}", pointer, parameter, raw)
        expected = {name for place, name in known if place == "query"}
        for name, _ in received.query:
            if name not in expected and name.partition("[")[0] not in expected:
                yield f"there is no query parameter {name}"

    def _value_complaints(self, what: str, pointer: str, parameter: Mapping[str, Any], raw: list[str]) -> Iterator[str]:
        if "schema" not in parameter:
            return
        types = self._types(f"{pointer}/schema")
        if "array" in types:
            value: Any = _items(parameter, raw)
            items = self._types(f"{self._resolve(f'{pointer}/schema')[0]}/items")
            value = [_coerced(item, items) for item in value]
        elif "object" in types:
            return  # deepObject and its kin: the document's word is taken
        else:
            value = _coerced(raw[-1], types)
        yield from self._schema_complaints(what, f"{pointer}/schema", value)

    def _types(self, pointer: str) -> set[str]:
        """Names of the JSON types that a schema allows, through references and alternatives."""
        pointer, schema = self._resolve(pointer)
        if not isinstance(schema, Mapping):
            return set()
        given = schema.get("type", ())
        types = {given} if isinstance(given, str) else set(given)
        for word in ("anyOf", "oneOf", "allOf"):
            for number in range(len(schema.get(word, ()))):
                types |= self._types(f"{pointer}/{word}/{number}")
        return types

    # The body.

    def _body_complaints(self, operation: Operation, received: Received) -> Iterator[str]:
        holder = self._resolve(operation.pointer)[1]
        if "requestBody" not in holder:
            if received.size:
                yield "it takes no body"
            return
        pointer, body = self._resolve(f"{operation.pointer}/requestBody")
        if not received.size:
            if body.get("required"):
                yield "the body is missing"
            return
        sent = received.headers.get("content-type", "").partition(";")[0].strip().lower()
        media = next((kind for kind in body.get("content", {}) if _fits(kind, sent)), None)
        if media is None:
            yield f"the body is {sent or 'of no type'}, not {' or '.join(body.get('content', {}))}"
        elif sent.endswith("json") and received.size == len(received.body):
            yield from self._json_complaints(f"{pointer}/content/{_escaped(media)}", received)

    def _json_complaints(self, pointer: str, received: Received) -> Iterator[str]:
        try:
            value = received.json()
        except ValueError as error:
            yield f"the body is not JSON: {error}"
            return
        if "schema" in self._resolve(pointer)[1]:
            yield from self._schema_complaints("the body", f"{pointer}/schema", value)

    # Schemas and references.

    def _schema_complaints(self, what: str, pointer: str, value: Any) -> Iterator[str]:
        from jsonschema.exceptions import best_match

        errors = sorted(self._validator(pointer).iter_errors(value), key=lambda error: list(map(str, error.path)))
        for error in errors:
            best = best_match([error]) or error
            place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in best.absolute_path)
            yield f"{what}{place}: {best.message}"

    def _validator(self, pointer: str) -> Any:
        """Made once for each schema; references inside are looked up in the document."""
        if pointer not in self._validators:
            import openapi_schema_validator as schemas
            from referencing import Registry
            from referencing.jsonschema import DRAFT202012

            registry: Any = Registry().with_resource(_BASE, DRAFT202012.create_resource(self.document))
            is_old = str(self.document["openapi"]).startswith("3.0")
            kind = schemas.OAS30WriteValidator if is_old else schemas.OAS31Validator
            checker = schemas.oas30_format_checker if is_old else schemas.oas31_format_checker
            self._validators[pointer] = kind({"$ref": f"{_BASE}#{pointer}"}, registry=registry, format_checker=checker)
        return self._validators[pointer]

    def _resolve(self, pointer: str) -> tuple[str, Any]:
        """What stands at `pointer`, and where it really stands when there are references on the way."""
        value: Any = self.document
        place = ""
        for step in pointer.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            value = value[int(key)] if isinstance(value, list) else value.get(key, {})
            place = f"{place}/{step}"
            if isinstance(value, Mapping) and isinstance(value.get("$ref"), str):
                place, value = self._resolve(value["$ref"].removeprefix("#"))
        return place, value


def _read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    import yaml

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 -- both are safe
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _fits(kind: str, sent: str) -> bool:
    pattern = re.escape(kind.partition(";")[0].strip().lower()).replace(r"\*", "[^/]*")
    return re.fullmatch(pattern, sent) is not None


def _raw_values(parameter: Mapping[str, Any], operation: Operation, received: Received) -> list[str]:
    """The values that the request gives a parameter, as they are written."""
    name = parameter["name"]
    match parameter["in"]:
        case "path":
            return [value for key, value in operation.path_values.items() if key == name]
        case "query":
            return [value for key, value in received.query if key == name or key.startswith(f"{name}[")]
        case "header":
            return [value for key, value in received.headers.items() if key == name.lower()]
    return []


def _items(parameter: Mapping[str, Any], raw: list[str]) -> list[str]:
    """A list: the parameter repeated, unless the document says that commas separate (style and explode)."""
    is_repeated = parameter.get("explode", parameter["in"] == "query")
    separator = {"spaceDelimited": " ", "pipeDelimited": "|"}.get(parameter.get("style", ""), ",")
    return raw if is_repeated else [item for value in raw for item in value.split(separator)]


def _coerced(text: str, types: set[str]) -> Any:
    """The text as the value that it can only mean; a wrong one stays text and fails as such."""
    if "string" in types or not types:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, str) else value
