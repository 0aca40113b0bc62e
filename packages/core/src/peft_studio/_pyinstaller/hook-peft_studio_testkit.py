"""The testkit finds sandboxes through their entry points; only a program that has it needs them."""

from peft_studio._pyinstaller import collect_plugins

datas, hiddenimports = collect_plugins("peft_studio.sandboxes")
