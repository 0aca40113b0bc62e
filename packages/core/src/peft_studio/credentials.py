"""Where a connector's credentials come from: the argument, the environment, a vault plugin; field by field."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from peft_studio.errors import InvalidCredentials
from peft_studio.manifest import Manifest


def gather(
    manifest: Manifest | None, given: Mapping[str, str] | None, vault: Callable[[str], str | None]
) -> dict[str, str]:
    """Everything that is known for the connector of `manifest`; the strongest source of each field wins.

    `vault` is asked for the fields that are credentials and that neither the argument nor the environment has.
    """
    values = dict(given or {})
    if manifest is None:
        return values
    variables = [(field.key, field.env) for field in manifest.credentials]
    variables += [(field.key, field.env) for field in manifest.settings]
    for key, variable in variables:
        if key not in values and (value := os.environ.get(variable or "")):
            values[key] = value
    for credential in manifest.credentials:
        if credential.key not in values and (secret := vault(credential.key)) is not None:
            values[credential.key] = secret
    return values


def require(connector: str, keys: Iterable[str], values: Mapping[str, str], manifest: Manifest | None) -> None:
    """Refuse to connect without what the class (`keys`) or connector.json requires. Raises `InvalidCredentials`."""
    required = [*keys, *(field.key for field in (manifest.credentials if manifest else ()) if field.required)]
    missing = [key for key in dict.fromkeys(required) if not values.get(key)]
    if not missing:
        return
    variables = {field.key: field.env for field in (manifest.credentials if manifest else ()) if field.env}
    ways = [f"set {variables[key]}" if key in variables else f'pass {{"{key}": ...}} to connect' for key in missing]
    raise InvalidCredentials(f"{connector} needs {' and '.join(missing)}", remedy=", ".join(ways))
