"""Core loads its public names by name, and connectors through their entry points. The command line is apart."""

from PyInstaller.utils.hooks import collect_submodules, copy_metadata

from peft_studio._pyinstaller import collect_plugins


def _is_needed(module: str) -> bool:
    return not module.startswith(("peft_studio.cli", "peft_studio._pyinstaller"))


datas, hiddenimports = collect_plugins("peft_studio.connectors")
datas += copy_metadata("peft-studio")
hiddenimports += collect_submodules("peft_studio", filter=_is_needed)
