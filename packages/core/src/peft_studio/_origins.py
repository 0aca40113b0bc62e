"""Where a distribution came from, and how it would be asked for again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from peft_studio._metadata import Installed


def requirement_line(installed: Installed) -> str:
    """One line of a requirements file that brings the distribution back as it is. Raises ValueError."""
    origin = direct_url(installed)
    if origin is None:
        return f"{installed.name}=={installed.version}"
    folder = project_folder(installed)
    if folder is not None:
        return f"-e {folder}"
    url = origin["url"]
    if "vcs_info" in origin:
        told = origin["vcs_info"]
        url = f"{told['vcs']}+{url}@{told['commit_id']}"
    if origin.get("subdirectory"):
        url += f"#subdirectory={origin['subdirectory']}"
    return f"{installed.name} @ {url}"


def project_folder(installed: Installed) -> Path | None:
    """The folder of an editable install; None for all others. Raises ValueError."""
    origin = direct_url(installed)
    if origin is None or not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(url2pathname(urlsplit(origin["url"]).path))


def direct_url(installed: Installed) -> dict[str, Any] | None:
    """What direct_url.json says; None for a distribution from an index. Raises ValueError."""
    if installed.direct_url is None:
        return None
    origin = json.loads(installed.direct_url)
    if not isinstance(origin, dict) or not isinstance(origin.get("url"), str):
        raise ValueError("direct_url.json has no url")  # noqa: TRY004 -- as for anything else that is wrong with it
    return origin
