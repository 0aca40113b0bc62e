"""Which files go to LFS: the server decides it, by the patterns of `.gitattributes`, the size and the first bytes."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Final

_PATTERNS: Final = (
    "*.7z", "*.bin", "*.bz2", "*.gguf", "*.gz", "*.h5", "*.jpg", "*.model", "*.npy", "*.npz", "*.onnx", "*.parquet",
    "*.pickle", "*.pkl", "*.png", "*.pt", "*.pth", "*.safetensors", "*.tar", "*.tflite", "*.zip", "*tfevents*",
)  # fmt: skip
#: What a new repository has.
GIT_ATTRIBUTES: Final = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _PATTERNS)
#: Longest file in git itself, bytes.
LONGEST: Final = 10 * 2**20


def is_lfs(path: str, sample: bytes, size: int, attributes: str = GIT_ATTRIBUTES) -> bool:
    """True for a file that is not for git itself. An empty one always is."""
    if size == 0:
        return False
    return size > LONGEST or b"\0" in sample or any(_matches(path, pattern) for pattern in _patterns(attributes))


def _matches(path: str, pattern: str) -> bool:
    return fnmatch(path if "/" in pattern else path.rpartition("/")[2], pattern)


def _patterns(attributes: str) -> list[str]:
    return [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line.split()]
