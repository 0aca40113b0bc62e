"""What `connect` is given: each field from the strongest source that has it, or one sentence about what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from peft_studio.credentials.found import Found
from peft_studio.credentials.sources import Sources, Vault
from peft_studio.credentials.stores import NoStore
from peft_studio.errors import MissingCredentials, PeftStudioError
from peft_studio.manifest import Manifest
from peft_studio.secret import Secret


@frozen(kw_only=True)
class Gathered:
    """The fields of one connector, where each was found, and what kept sources from answering."""

    values: Mapping[str, Secret]
    found: tuple[Found, ...] = ()
    complaints: tuple[PeftStudioError, ...] = ()


def gather(
    manifest: Manifest | None, owner: str | None, given: Mapping[str, Secret], vault: Vault | None = None
) -> Gathered:
    """Everything that is known for the connector of `manifest`, which belongs to the distribution `owner`.

    The secrets among it are masked from now on in whatever the process says. `vault` and what is stored are asked for
    the fields that are credentials and that neither `given` nor the environment has.
    """
    values, found, complaints = dict(given), [], []
    if manifest is not None:
        sources = Sources(manifest, owner, given=given, vault=vault)
        for field in manifest.fields:
            answer = next(sources.of(field.key), None)
            if answer is not None:
                found.append(answer[0])
                values[field.key] = answer[1]
        complaints = sources.complaints
    _hold_secrets(manifest, values)
    return Gathered(values=values, found=tuple(found), complaints=tuple(complaints))


def hold_environment(manifest: Manifest | None) -> list[Secret]:
    """Mask what the environment holds for a connector, for as long as the answer is kept."""
    if manifest is None:
        return []
    sources = Sources(manifest, None, stores=())
    values = {field.key: [secret for _, secret in sources.of_environment(field.key)] for field in manifest.credentials}
    held = [secret for key, secrets in values.items() for secret in secrets if is_secret(manifest, key, secret)]
    _hold(held)
    return held


def require(connector: str, keys: Iterable[str], gathered: Gathered, manifest: Manifest | None) -> None:
    """Refuse to connect without what the class (`keys`) or connector.json requires. Raises `MissingCredentials`."""
    required = [*keys, *(field.key for field in (manifest.credentials if manifest else ()) if field.required)]
    missing = [key for key in dict.fromkeys(required) if not gathered.values.get(key)]
    if not missing:
        return
    variables = {field.key: field.env for field in (manifest.credentials if manifest else ()) if field.env}
    ways = [f"set {variables[key]}" if key in variables else f'pass {{"{key}": ...}} to connect' for key in missing]
    if manifest is not None and {field.key for field in manifest.credentials} >= set(missing):
        ways.append(f"or log in: peft-studio auth login {manifest.name}")
    reasons = [complaint for complaint in gathered.complaints if not isinstance(complaint, NoStore)]
    why = "; ".join(str(reason) for reason in reasons) or None
    raise MissingCredentials(f"{connector} needs {' and '.join(missing)}", why=why, remedy=", ".join(ways))


def is_secret(manifest: Manifest | None, key: str, value: Secret) -> bool:
    """True unless connector.json says otherwise; of what it does not know, an address without a user is none."""
    for credential in manifest.credentials if manifest else ():
        if credential.key == key:
            return credential.secret
    if manifest is not None and any(setting.key == key for setting in manifest.settings):
        return False
    text = value.reveal()
    return not text.startswith(("https://", "http://")) or "@" in text


def _hold_secrets(manifest: Manifest | None, values: Mapping[str, Secret]) -> None:
    _hold([value for key, value in values.items() if is_secret(manifest, key, value)])


def _hold(secrets: list[Secret]) -> None:
    from peft_studio.redaction import hold

    hold(secrets)
