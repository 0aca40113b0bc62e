"""For programs frozen with PyInstaller: what its analysis of import statements cannot see.

PyInstaller finds this folder through the entry point `pyinstaller40` and runs `hook-<module>.py` when a program imports
that module. Nothing here is imported by anybody else.
"""

from __future__ import annotations

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """Where the hooks are."""
    return [str(Path(__file__).parent)]


def collect_plugins(group: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Metadata, data files (connector.json among them) and modules of every plugin that is installed for `group`.

    What a plugin imports is found by the analysis, function bodies included; one that imports by name needs a hook of
    its own.
    """
    from PyInstaller.utils.hooks import collect_data_files, collect_entry_point

    datas, modules = collect_entry_point(group)
    for package in sorted({module.partition(".")[0] for module in modules}):
        datas += collect_data_files(package)
    return datas, modules
