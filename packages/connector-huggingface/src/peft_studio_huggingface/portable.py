"""What of an adapter folder is true on this machine alone, and what goes up in its place.

PEFT writes the folder of a base model into `adapter_config.json`, trainers write where their data lay. Published, the
one breaks the adapter for everybody else, and both tell strangers how somebody's disk is arranged. The files here stay
as they are: copies of those few that hold such a path are changed, and go up instead.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

from attrs import frozen

from peft_studio_huggingface.reading import mapping, text

ADAPTER: Final = "adapter_config.json"
RECORD: Final = "peft_studio.json"
README: Final = "README.md"
#: Documents in which libraries write down where something lay.
_DOCUMENTS: Final = (ADAPTER, RECORD, "config.json", "tokenizer_config.json", "trainer_state.json")
_BASE: Final = "base_model_name_or_path"
#: Of two parts at least: a lone "/" is a token, a unit or a sign.
_PATH: Final = re.compile(r"(?:file:/*|/|\\\\)[^\s/\\][^\n]*[/\\][^\n]+|(?:\.{1,2}[\\/]|~[\\/]|[A-Za-z]:[\\/])[^\n]+")
#: Letters that a path in the middle of a text may go on with.
_REST: Final = r"(?:[\\/][\w.@+~-]+)*"


def is_local(value: str) -> bool:
    """True for what can only be a place on somebody's machine."""
    return _PATH.fullmatch(value) is not None


def is_hub_name(name: str | None) -> bool:
    """True for what can be an id on the Hub, and is no path of somebody's machine."""
    return name is not None and re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name, re.ASCII) is not None


def public(value: Any) -> Any:
    """Of a place on this machine its last part; of lists and objects every value; anything else as it is."""
    if isinstance(value, str):
        return last_part(value) if is_local(value) else value
    if isinstance(value, list):
        return [public(each) for each in value]
    return {key: public(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def last_part(path: str) -> str:
    """The name of a file or folder."""
    return PurePosixPath(path.replace("\\", "/")).name or path


def document(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file; nothing where there is none that can be read."""
    try:
        return mapping(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


@frozen
class Base:
    """What an adapter was made from, as others can find it."""

    #: None when nobody says.
    name: str | None
    #: False for a name of which nobody says that it is one on the Hub.
    is_on_hub: bool
    #: As `adapter_config.json` has it here.
    written: str | None
    #: True where the record says that it was a folder or a file.
    was_local: bool = False

    @classmethod
    def of(cls, metadata: Mapping[str, Any], record: Mapping[str, Any], adapter: Mapping[str, Any]) -> Self:
        """The metadata of an upload win over the adapter's own record, and that over what PEFT wrote."""
        made_from, written = mapping(record.get("base_model")), text(adapter.get(_BASE))
        is_from_hub = made_from.get("source", "huggingface") == "huggingface"
        told, recorded = text(metadata.get("base_model")), text(made_from.get("name"))
        candidates = (told, recorded if is_from_hub else None, written if is_from_hub else None)
        found = next((name for name in candidates if is_hub_name(name)), None)
        known = next((last_part(name) for name in (told, recorded, written) if name), None)
        return cls(found or known, found is not None, written, not is_from_hub)

    @property
    def in_adapter(self) -> str | None:
        """What `adapter_config.json` is to say: what it says already, where others can make something of that."""
        if self.written is None or is_hub_name(self.written):
            return self.written
        return self.name if self.is_on_hub else last_part(self.written)

    @property
    def is_place(self) -> bool:
        """True where PEFT wrote a folder."""
        return self.written is not None and not is_hub_name(self.written) and bool(re.search(r"[\\/]", self.written))

    @property
    def warning(self) -> str | None:
        """For readers of the card, where the adapter does not find its base by itself."""
        if not (self.is_place or self.was_local) or self.written is None or is_hub_name(self.in_adapter):
            return None
        return (
            f"`{ADAPTER}` calls the base model `{self.in_adapter}`: it lay on the machine of the training, and "
            "nobody said what it is called on the Hub. To load this adapter, load its base model first."
        )


def portable(files: Mapping[str, Path], metadata: Mapping[str, Any], place: Path) -> dict[str, Path]:
    """The same files, with changed copies in `place` of those that would be wrong or indiscreet elsewhere."""
    folders = {path: place.joinpath(*PurePosixPath(path).parts) for path in files}
    base = Base.of(metadata, document_of(files, RECORD), document_of(files, ADAPTER))
    found = dict(files)
    for path, source in files.items():
        changed = _changed(path, source, base)
        if changed is not None:
            folders[path].parent.mkdir(parents=True, exist_ok=True)
            folders[path].write_text(changed, encoding="utf-8", newline="\n")
            found[path] = folders[path]
    return found


def document_of(files: Mapping[str, Path], path: str) -> Mapping[str, Any]:
    """One of the files as JSON; nothing where it is missing."""
    return document(files[path]) if path in files else {}


def _changed(path: str, source: Path, base: Base) -> str | None:
    """The content that goes up instead; None where the file may go as it is."""
    name = PurePosixPath(path).name
    if name in _DOCUMENTS:
        return _changed_document(name, source, base)
    return _changed_readme(source, base) if path == README else None


def _changed_document(name: str, source: Path, base: Base) -> str | None:
    before = document(source)
    after = dict(public(before))
    if name == ADAPTER and text(before.get(_BASE)) == base.written and base.in_adapter is not None:
        after[_BASE] = base.in_adapter
    return None if after == before else json.dumps(after, indent=2, ensure_ascii=False) + "\n"


def _changed_readme(source: Path, base: Base) -> str | None:
    """Its words are its author's: only paths of this machine are cut, and a base that the Hub would refuse."""
    try:
        before = source.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    after = before
    if base.written is not None and base.is_place:
        header = rf"^base_model: *['\"]?{re.escape(base.written)}['\"]? *$\n?"
        named = f"base_model: {base.name}\n" if base.is_on_hub else ""
        after = re.sub(header, lambda _: named, after, count=1, flags=re.MULTILINE)
        after = after.replace(base.written, str(base.in_adapter))
    after = discreet(after)
    return None if after == before else after


def discreet(words: str) -> str:
    """Words without the folders of this machine and this user: of a path in one of them its last part is left."""
    for root in _roots():
        pattern = rf"(?<![\w.:/\\-]){re.escape(root)}{_REST}(?![\w-])"
        words = re.sub(pattern, lambda found: last_part(found[0]), words)
    return words


def _roots() -> Iterable[str]:
    """Home, the current folder and that of temporary files; not the root of the disk, which is no secret."""
    found = {str(place) for place in (Path.home(), Path.cwd(), Path(tempfile.gettempdir()))}
    return sorted((root for root in found if len(Path(root).parts) > 1), key=len, reverse=True)
