"""What is known of an installed plugin, as data: found, described, active, broken, ambiguous or disabled."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from peft_studio.manifest import Manifest

#: Attribute of the class and key of connector.json that go together: `supports_<feature>`.
FEATURES = ("training", "inference", "registry", "tracking")


class State(StrEnum):
    """How far a plugin has come. Only an active one has been imported."""

    FOUND = "found"
    DESCRIBED = "described"
    ACTIVE = "active"
    BROKEN = "broken"
    AMBIGUOUS = "ambiguous"
    DISABLED = "disabled"


class Severity(StrEnum):
    """A fault keeps the connector from being used; a warning and an advice do not."""

    FAULT = "fault"
    WARNING = "warning"
    ADVICE = "advice"


class Stage(StrEnum):
    """Where on the way from entry point to usable class something was found."""

    DISCOVERY = "discovery"
    MANIFEST = "manifest"
    POLICY = "policy"
    VERSION = "version"
    IMPORT = "import"
    HOOKS = "hooks"
    DELIVERY = "delivery"
    VALIDATION = "validation"
    AGREEMENT = "agreement"


@frozen(kw_only=True)
class Finding:
    """One thing to say about a plugin: what is wrong, and what mends it."""

    stage: Stage
    message: str
    remedy: str | None = None
    severity: Severity = Severity.FAULT
    #: The exception behind it; never compared, it has no value of its own.
    cause: BaseException | None = field(default=None, eq=False, repr=False)

    @property
    def is_fault(self) -> bool:
        """True when it keeps the connector from being used."""
        return self.severity is Severity.FAULT

    def __str__(self) -> str:
        return self.message


@frozen(kw_only=True)
class Plugin:
    """An entry point and the distribution that it belongs to."""

    name: str
    #: The entry point's value: the plugin module.
    value: str
    distribution: str
    version: str
    #: Requires-Dist lines of the distribution.
    requires: tuple[str, ...] = ()
    #: Directory that holds the distribution's metadata.
    location: Path | None = None

    @property
    def label(self) -> str:
        """How errors name it: ``runpod (peft-studio-runpod 0.1.0)``."""
        return f"{self.name} ({self.origin})"

    @property
    def origin(self) -> str:
        """Distribution and version, as one would write them to pip."""
        return f"{self.distribution} {self.version}"

    @property
    def package(self) -> str:
        """The top-level package, which is where connector.json lies."""
        return self.value.partition(".")[0]


@frozen(kw_only=True)
class Broken:
    """Why a plugin cannot be used: the first fault on its way, kept with the exception that caused it."""

    plugin: Plugin
    stage: Stage
    problem: str
    remedy: str | None = None
    cause: BaseException | None = field(default=None, eq=False, repr=False)

    @classmethod
    def from_finding(cls, plugin: Plugin, finding: Finding) -> Broken:
        """The record of a fault."""
        return cls(
            plugin=plugin,
            stage=finding.stage,
            problem=finding.message,
            remedy=finding.remedy,
            cause=finding.cause,
        )

    def as_finding(self) -> Finding:
        """The fault again, for a list of findings."""
        return Finding(stage=self.stage, message=self.problem, remedy=self.remedy, cause=self.cause)


@frozen(kw_only=True)
class ConnectorRecord:
    """One connector in a list. What is not known without an import is None, or empty."""

    name: str
    state: State
    display_name: str | None = None
    description: str | None = None
    distribution: str | None = None
    version: str | None = None
    #: The entry point's value.
    entry_point: str | None = None
    features: tuple[str, ...] = ()
    problems: tuple[Finding, ...] = ()
    manifest: Manifest | None = None

    @property
    def is_usable(self) -> bool:
        """True unless something is known that stops it."""
        return self.state in (State.FOUND, State.DESCRIBED, State.ACTIVE)

    def to_dict(self) -> dict[str, Any]:
        """The shape that `connectors list --json` promises."""
        return {
            "name": self.name,
            "display_name": self.display_name,
            "distribution": self.distribution,
            "version": self.version,
            "state": str(self.state),
            "features": list(self.features),
            "problems": [finding.message for finding in self.problems],
        }
