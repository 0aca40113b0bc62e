"""A small JSON file in the state directory: worth nothing by itself, so a fault of it is logged and done without."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from attrs import define, field

from peft_studio import paths

_log = logging.getLogger(__name__)


@define
class StateFile:
    """One object of JSON; `loss` says what is missing when the file cannot be used."""

    name: str
    loss: str
    path: Path = field()
    _content: dict[str, Any] | None = None

    @path.default
    def _in_state_directory(self) -> Path:
        return paths.state_dir() / self.name

    def read(self) -> dict[str, Any]:
        """What the file holds; read once."""
        if self._content is None:
            self._content = self._load()
        return self._content

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file in one rename."""
        import tempfile  # here: a list, which only reads, does without its imports

        self._content = content
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as draft:
                json.dump(content, draft, indent=1)
            Path(draft.name).replace(self.path)
        except OSError as error:
            _log.warning("%s cannot be written (%s); %s", self.path, error, self.loss)

    def forget(self) -> None:
        """Remove the file: there is nothing to remember."""
        self._content = None
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s cannot be removed (%s); %s", self.path, error, self.loss)

    def refresh(self) -> None:
        """Read the file again at the next question."""
        self._content = None

    def _load(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            _log.warning("%s cannot be read (%s); %s", self.path, error, self.loss)
            return {}
        return content if isinstance(content, dict) else {}
