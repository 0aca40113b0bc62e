"""The folder connector: every adapter is a folder, its name is its id."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft_studio import ArtifactNotFound, InvalidCredentials, ModelInfo, RegistryConnector
from peft_studio.artifacts import copy_verified


class FolderConnector(RegistryConnector):
    """A registry without a server."""

    name = "folder"
    display_name = "Shared folder"
    description = "Keeps adapters in a folder that a team shares"
    version = "0.1.0"

    async def connect(self, credentials: Mapping[str, str]) -> bool:
        """Look whether the folder is there."""
        self._root = Path(credentials.get("path", "")).expanduser()
        if not credentials.get("path") or not self._root.is_dir():
            raise InvalidCredentials(f"{self._root} is not a folder", remedy="set PEFT_STUDIO_FOLDER_PATH")
        return True

    async def disconnect(self) -> bool:
        """Nothing to let go."""
        return True

    async def upload_artifact(self, path: str, metadata: Mapping[str, Any]) -> str:
        """Copy an adapter folder, verified; its name in the registry is `metadata["name"]` or its own."""
        source = Path(path)
        model_id = str(metadata.get("name", source.name))
        await asyncio.to_thread(copy_verified, source, self._root / model_id)
        return model_id

    async def search_models(self, query: str) -> list[ModelInfo]:
        """Adapters whose name contains `query`."""
        configs = sorted(self._root.glob("*/adapter_config.json"))
        return [_describe(config.parent) for config in configs if query.lower() in config.parent.name.lower()]

    async def get_model_metadata(self, model_id: str) -> ModelInfo:
        """One adapter, read from its own files."""
        return _describe(self._folder(model_id))

    async def download_model(self, model_id: str, destination: Path) -> Path:
        """Copy an adapter to `destination`, verified."""
        await asyncio.to_thread(copy_verified, self._folder(model_id), destination)
        return destination

    def _folder(self, model_id: str) -> Path:
        folder = self._root / model_id
        if Path(model_id).name != model_id or not (folder / "adapter_config.json").is_file():
            raise ArtifactNotFound(f"no adapter {model_id!r} in {self._root}")
        return folder


def _describe(folder: Path) -> ModelInfo:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return ModelInfo(
        id=folder.name, name=folder.name, base_model=config.get("base_model_name_or_path"), size_bytes=size
    )
