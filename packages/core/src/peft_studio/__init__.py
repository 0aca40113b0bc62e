"""Fine-tune an adapter anywhere, through one interface.

The names below are the public interface; they load when first used, so that `import peft_studio` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from peft_studio.config import load_config
    from peft_studio.connector import (
        InferenceConnector,
        PlatformConnector,
        RegistryConnector,
        TrackingConnector,
        TrainingConnector,
    )
    from peft_studio.errors import (
        ArtifactNotFound,
        BrokenConnector,
        CapacityError,
        ConnectionFailed,
        ConnectorNotFound,
        IncompleteList,
        InsufficientCreditsError,
        InvalidConfig,
        InvalidCredentials,
        JobNotFound,
        MissingCredentials,
        NotEnoughMemory,
        PeftStudioError,
        PlatformError,
        RateLimitError,
        UnsupportedCapability,
    )
    from peft_studio.health import Health, HealthMonitor
    from peft_studio.hookspecs import hookimpl
    from peft_studio.ledger import Ledger
    from peft_studio.manager import ConnectorManager
    from peft_studio.models import (
        Deployment,
        JobEvent,
        JobStatus,
        ModelInfo,
        Observed,
        PricingInfo,
        Problem,
        RateLimit,
        Rental,
        Resource,
        Run,
        RunBatch,
        RunLine,
        RunRow,
    )
    from peft_studio.registry import ConnectorRegistry
    from peft_studio.sync import SyncConnectorManager
    from peft_studio.training_config import TrainingConfig
    from peft_studio.transport import ServerSentEvent, Transport

_HOME = {
    "load_config": "config",
    "PlatformConnector": "connector",
    "TrainingConnector": "connector",
    "RegistryConnector": "connector",
    "TrackingConnector": "connector",
    "InferenceConnector": "connector",
    "PeftStudioError": "errors",
    "InvalidConfig": "errors",
    "InvalidCredentials": "errors",
    "MissingCredentials": "errors",
    "ConnectionFailed": "errors",
    "IncompleteList": "errors",
    "ArtifactNotFound": "errors",
    "ConnectorNotFound": "errors",
    "JobNotFound": "errors",
    "BrokenConnector": "errors",
    "PlatformError": "errors",
    "RateLimitError": "errors",
    "InsufficientCreditsError": "errors",
    "CapacityError": "errors",
    "NotEnoughMemory": "errors",
    "UnsupportedCapability": "errors",
    "Health": "health",
    "HealthMonitor": "health",
    "hookimpl": "hookspecs",
    "Ledger": "ledger",
    "ConnectorManager": "manager",
    "Deployment": "models",
    "JobEvent": "models",
    "JobStatus": "models",
    "ModelInfo": "models",
    "Observed": "models",
    "PricingInfo": "models",
    "Problem": "models",
    "RateLimit": "models",
    "Rental": "models",
    "Resource": "models",
    "Run": "models",
    "RunBatch": "models",
    "RunLine": "models",
    "RunRow": "models",
    "ConnectorRegistry": "registry",
    "SyncConnectorManager": "sync",
    "TrainingConfig": "training_config",
    "ServerSentEvent": "transport",
    "Transport": "transport",
}

__all__ = [
    "ArtifactNotFound",
    "BrokenConnector",
    "CapacityError",
    "ConnectionFailed",
    "ConnectorManager",
    "ConnectorNotFound",
    "ConnectorRegistry",
    "Deployment",
    "Health",
    "HealthMonitor",
    "IncompleteList",
    "InferenceConnector",
    "InsufficientCreditsError",
    "InvalidConfig",
    "InvalidCredentials",
    "JobEvent",
    "JobNotFound",
    "JobStatus",
    "Ledger",
    "MissingCredentials",
    "ModelInfo",
    "NotEnoughMemory",
    "Observed",
    "PeftStudioError",
    "PlatformConnector",
    "PlatformError",
    "PricingInfo",
    "Problem",
    "RateLimit",
    "RateLimitError",
    "RegistryConnector",
    "Rental",
    "Resource",
    "Run",
    "RunBatch",
    "RunLine",
    "RunRow",
    "ServerSentEvent",
    "SyncConnectorManager",
    "TrackingConnector",
    "TrainingConfig",
    "TrainingConnector",
    "Transport",
    "UnsupportedCapability",
    "__version__",
    "hookimpl",
    "load_config",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
