"""Thirteen small connectors as real wheels: with `local`, start-up is measured with fourteen installed.

They do what a connector does at discovery: a distribution with metadata, an entry point, a connector.json and a plugin
module that delivers a class.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Final

from environments import CACHE

COUNT: Final = 13
VERSION: Final = "1.0"

_PLUGIN: Final = """from peft_studio import hookimpl


@hookimpl
def peft_studio_connector():
    from {package}.connector import SampleConnector

    return SampleConnector
"""

_CONNECTOR: Final = '''from peft_studio import TrackingConnector


class SampleConnector(TrackingConnector):
    """A tracker that forgets."""

    name = "{name}"
    display_name = "Sample {name}"
    description = "Takes part in measurements"
    version = "{version}"

    async def connect(self, credentials):
        return True

    async def disconnect(self):
        return True

    async def start_run(self, config):
        return "run"

    async def log_metrics(self, run_id, metrics, step):
        return None

    async def log_text(self, run_id, key, text, step=None):
        return None

    async def finish_run(self, run_id, status):
        return None

    async def get_metrics(self, run_id):
        return []

    async def upload_artifact(self, path, metadata):
        return "artifact"
'''


def build() -> list[Path]:
    """The wheels, in `.bench/samples`."""
    folder = CACHE / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_wheel(folder, number) for number in range(1, COUNT + 1)]


def _write_wheel(folder: Path, number: int) -> Path:
    name = f"sample{number:02}"
    package = f"bench_connector_{number:02}"
    content = files(name, package)
    info = f"{package}-{VERSION}.dist-info"
    content[f"{info}/RECORD"] = "".join(_record(path, text) for path, text in content.items()) + f"{info}/RECORD,,\n"
    wheel = folder / f"{package}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path), text)  # without a date: the same bytes every time
    return wheel


def files(name: str, package: str) -> dict[str, str]:
    """What an installation of the connector consists of."""
    info = f"{package}-{VERSION}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {VERSION}\nRequires-Dist: peft-studio<1,>=0.1\n"
    return {
        f"{package}/__init__.py": "",
        f"{package}/plugin.py": _PLUGIN.format(package=package),
        f"{package}/connector.py": _CONNECTOR.format(name=name, version=VERSION),
        f"{package}/connector.json": json.dumps(_manifest(name), indent=2),
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: benchmarks\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[peft_studio.connectors]\n{name} = {package}.plugin\n",
    }


def _manifest(name: str) -> dict[str, object]:
    token = {
        "key": "api_key", "display_name": "API key", "description": "from the account page", "required": True,
        "secret": True, "env": f"{name.upper()}_API_KEY",
    }  # fmt: skip
    return {
        "name": name,
        "display_name": f"Sample {name}",
        "description": "Takes part in measurements",
        "enabled": True,
        "credentials": [token],
        "features": {"training": False, "inference": False, "registry": False, "tracking": True},
        "documentation_url": "https://example.com/",
        "rate_limits": {"requests_per_minute": 60},
        "api_version": 0,
    }


def _record(path: str, text: str) -> str:
    data = text.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"
