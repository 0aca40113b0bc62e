"""What is installed: entry point, connector.json and metadata agree with the class."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.resources import files
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import Specifier
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from peft_studio import __version__ as core_version
from peft_studio.manifest import API_VERSION
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.expect import equal, expect
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__)


@check()
async def entry_point_is_found(subject: Subject) -> None:
    """A distribution is installed whose entry point in `peft_studio.connectors` has the connector's name."""
    expect(subject.record is not None, f"no installed distribution has an entry point named {subject.name!r}")


@check()
async def manifest_is_there(subject: Subject) -> None:
    """connector.json lies beside the package's __init__.py and can be read without importing it."""
    expect(subject.manifest, "there is no connector.json")


@check()
async def plugin_delivers_the_class(subject: Subject) -> None:
    """The hook peft_studio_connector of the plugin module returns this very class."""
    delivered = _plugin(subject).peft_studio_connector()
    same = delivered.__qualname__ == subject.connector.__qualname__ and delivered.__module__ == (
        subject.connector.__module__
    )
    expect(same, f"peft_studio_connector returned {delivered!r}, not {subject.connector!r}")


@check()
async def plugin_lists_its_hooks(subject: Subject) -> None:
    """connector.json lists the hooks that the plugin module has beside peft_studio_connector, and no others."""
    written = {name for name in vars(_plugin(subject)) if name.startswith("peft_studio_")} - {"peft_studio_connector"}
    listed = set(subject.manifest.hooks) | ({"peft_studio_cli"} if subject.manifest.commands else set())
    equal(sorted(written), sorted(listed), "the list of hooks in connector.json")


@check()
async def manifest_has_the_name(subject: Subject) -> None:
    """connector.json and the class have one name."""
    equal(subject.connector.name, subject.manifest.name, "name in connector.json")


@check()
async def manifest_has_the_texts(subject: Subject) -> None:
    """connector.json and the class say the same about themselves."""
    equal(subject.connector.display_name, subject.manifest.display_name, "display_name in connector.json")
    equal(subject.connector.description, subject.manifest.description, "description in connector.json")


@check()
async def manifest_has_the_features(subject: Subject) -> None:
    """connector.json declares what the class declares."""
    equal(list(subject.features), list(subject.manifest.features.names), "features in connector.json")


@check()
async def manifest_has_the_credentials(subject: Subject) -> None:
    """What connect cannot do without is required in connector.json, and the other way round."""
    required = sorted(field.key for field in subject.manifest.credentials if field.required)
    equal(
        sorted(subject.connector().get_required_credentials()), required, "the required credentials in connector.json"
    )


@check()
async def manifest_knows_every_credential(subject: Subject) -> None:
    """Each key that the sandbox's connection needs is a credential or a setting of connector.json."""
    manifest = subject.manifest
    known = {field.key for field in manifest.credentials} | {field.key for field in manifest.settings}
    unknown = sorted(set(subject.sandbox.credentials()) - known)
    expect(not unknown, f"connector.json lacks {', '.join(unknown)}, which connect is given")


@check()
async def manifest_marks_secrets(subject: Subject) -> None:
    """What the sandbox calls secret is marked secret in connector.json."""
    marked = {field.key for field in subject.manifest.credentials if field.secret}
    open_ones = sorted(set(subject.sandbox.secret_keys) & set(subject.sandbox.credentials()) - marked)
    expect(not open_ones, f'connector.json does not mark {", ".join(open_ones)} with "secret": true')


@check()
async def credentials_have_variables(subject: Subject) -> None:
    """Each credential names an environment variable, in capitals."""
    for field in subject.manifest.credentials:
        named = field.env and re.fullmatch(r"[A-Z][A-Z0-9_]*", field.env)
        expect(
            named, f"credential {field.key} in connector.json has the variable {field.env!r}; write it like ACME_KEY"
        )


@check()
async def credentials_are_explained(subject: Subject) -> None:
    """Each credential says what to call it and where to get it."""
    for field in subject.manifest.credentials:
        expect(field.display_name and field.description, f"credential {field.key} lacks display_name or description")


@check()
async def documentation_is_named(subject: Subject) -> None:
    """connector.json says where to read more."""
    expect(subject.manifest.documentation_url, "documentation_url is missing in connector.json")


@check(network=True)
async def hosts_are_named(subject: Subject) -> None:
    """A connector that talks to a platform lists its hosts, as bare names, unless users must give the address."""
    hosts = subject.manifest.hosts
    required = [field.key for field in subject.manifest.credentials if field.required]
    is_given = any(re.search("url|host|address|endpoint", key) for key in required)
    expect(hosts or is_given, "hosts is missing in connector.json")
    wrong = [host for host in hosts if not re.fullmatch(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+", host)]
    expect(not wrong, f"hosts has {', '.join(wrong)}; write bare names like api.example.com")


@check()
async def interface_version_is_current(subject: Subject) -> None:
    """connector.json was written for this plugin interface."""
    equal(API_VERSION, subject.manifest.api_version, "api_version in connector.json")


@check()
async def core_is_bounded(subject: Subject) -> None:
    """The distribution requires peft-studio from a version on, up to the next major one."""
    needed = [each for each in _requirements(subject) if canonicalize_name(each.name) == "peft-studio"]
    expect(needed, "the distribution does not require peft-studio")
    text = str(needed[0].specifier)
    upper = Version(f"{Version(core_version).major + 1}.0")
    is_allowed = needed[0].specifier.contains(core_version, prereleases=True)
    expect(is_allowed, f"peft-studio{text} does not allow {core_version}")
    expect(
        not needed[0].specifier.contains(upper), f"peft-studio{text} allows {upper}; bound it, such as <{upper.major}"
    )
    has_lower = any(each.operator in (">=", ">", "~=", "==") for each in needed[0].specifier)
    expect(has_lower, f"peft-studio{text} has no lower bound; name the version that you test with")


@check()
async def nothing_is_pinned(subject: Subject) -> None:
    """No requirement is pinned to one version: pins of two plugins cannot be installed together."""
    pinned = [str(each) for each in _requirements(subject) if any(_is_pin(one) for one in each.specifier)]
    expect(not pinned, f"the distribution pins {', '.join(pinned)}; give bounds instead")


@check()
async def types_are_shipped(subject: Subject) -> None:
    """The package brings py.typed, so that type checkers believe its annotations."""
    package = _entry_point(subject).partition(".")[0]
    with _on_path(subject):
        expect(files(package).joinpath("py.typed").is_file(), f"{package} has no py.typed")


@check()
async def versions_agree(subject: Subject) -> None:
    """The class has the version of its distribution, however either is written."""
    written, installed = subject.connector.version, subject.distribution.version
    with suppress(InvalidVersion):  # which version-can-be-compared tells
        expect(Version(written) == Version(installed), f"version of the class is {written!r}, not {installed!r}")


@check()
async def licence_is_named(subject: Subject) -> None:
    """The metadata of the distribution name a licence."""
    metadata = subject.distribution.metadata
    classified = [each for each in metadata.get_all("Classifier") or () if each.startswith("License ::")]
    expect(classified or {"License-Expression", "License"} & set(metadata), "the metadata name no licence")


@check()
async def index_can_find_it(subject: Subject) -> None:
    """The distribution has the keyword peft-studio-connector, by which people look for connectors."""
    keywords = re.split(r"[,\s]+", ",".join(subject.distribution.metadata.get_all("Keywords") or ()))
    expect("peft-studio-connector" in keywords, "the distribution lacks the keyword peft-studio-connector")


@check(network=True)
async def sandbox_is_delivered(subject: Subject) -> None:
    """The distribution brings its sandbox through an entry point, so that anybody can try the platform."""
    groups = subject.distribution.entry_points.select(group="peft_studio.sandboxes", name=subject.name)
    expect(list(groups), f"there is no entry point {subject.name!r} in the group peft_studio.sandboxes")


def _is_pin(specifier: Specifier) -> bool:
    return specifier.operator in ("==", "===") and not specifier.version.endswith(".*")


def _requirements(subject: Subject) -> list[Requirement]:
    return [Requirement(line) for line in subject.distribution.requires or ()]


def _entry_point(subject: Subject) -> str:
    """The name of the plugin module."""
    expect(subject.record is not None and subject.record.entry_point, f"there is no entry point for {subject.name!r}")
    assert subject.record is not None
    assert subject.record.entry_point is not None
    return subject.record.entry_point


def _plugin(subject: Subject) -> Any:
    """The plugin module, imported here."""
    with _on_path(subject):
        return import_module(_entry_point(subject))


@contextmanager
def _on_path(subject: Subject) -> Iterator[None]:
    before = list(sys.path)
    sys.path[:0] = list(subject.path or ())
    try:
        yield
    finally:
        sys.path[:] = before
