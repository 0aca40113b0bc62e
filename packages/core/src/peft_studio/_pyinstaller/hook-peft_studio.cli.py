"""The command line loads its commands by name, and with them what draws tables and charts."""

from PyInstaller.utils.hooks import collect_submodules

hiddenimports = collect_submodules("peft_studio.cli")
