"""One name, written the way each place wants it: distribution, package, class, environment variable."""

from __future__ import annotations

import re
from keyword import iskeyword
from unicodedata import east_asian_width

from attrs import frozen

from peft_studio.errors import InvalidConfig
from peft_studio.registry import FIRST_PARTY

#: Distributions of the project itself, and platforms that it has or plans a connector for.
RESERVED = {
    *FIRST_PARTY, "core", "web", "worker", "testkit", "civitai", "comet", "huggingface", "lambda", "modal", "ollama",
    "phoenix", "predibase", "replicate", "runpod", "together", "vast", "wandb",
}  # fmt: skip

#: A longer name would break the lines of the code that it is written into.
LONGEST_NAME = 24
LONGEST_DISPLAY_NAME = 30
LONGEST_AUTHOR = 80

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)
_UNSAFE = set("\"'`\\{}<>")


@frozen
class Names:
    """`acme-cloud`, and what follows from it. Raises `InvalidConfig` for a text that cannot be used."""

    name: str
    #: How the platform writes itself.
    display_name: str
    #: Who holds the copyright.
    author: str

    @classmethod
    def of(cls, name: str, display_name: str | None = None, author: str | None = None) -> Names:
        """The names of a connector; what is not given follows from `name`."""
        _require_name(name)
        titled = " ".join(word.capitalize() for word in name.split("-"))
        names = cls(name, display_name or titled, author or f"the authors of peft-studio-{name}")
        _require_text("platform", names.display_name, LONGEST_DISPLAY_NAME)
        _require_text("author", names.author, LONGEST_AUTHOR)
        return names

    @property
    def distribution(self) -> str:
        """What pip installs."""
        return f"peft-studio-{self.name}"

    @property
    def package(self) -> str:
        """What Python imports."""
        return f"peft_studio_{self.module}"

    @property
    def module(self) -> str:
        """The name as a part of an identifier."""
        return self.name.replace("-", "_")

    @property
    def prefix(self) -> str:
        """What class names begin with."""
        return "".join(word.capitalize() for word in self.name.split("-"))

    @property
    def variable(self) -> str:
        """What environment variables begin with."""
        return self.module.upper()


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        why = "it must be lower-case letters and digits, in words joined by single hyphens, a letter first"
        raise InvalidConfig(f"{name!r} cannot be the name of a connector", why=why, remedy="such as: acme, acme-cloud")
    if len(name) > LONGEST_NAME:
        raise InvalidConfig(f"{name!r} cannot be the name of a connector", why=f"it has over {LONGEST_NAME} letters")
    if iskeyword(name):
        why = "it is a word of Python itself"
        raise InvalidConfig(f"{name!r} cannot be the name of a connector", why=why, remedy=f"such as: {name}-cloud")
    if name in RESERVED:
        why = f"peft-studio-{name} belongs to PEFT Studio itself"
        raise InvalidConfig(f"{name!r} cannot be the name of your connector", why=why, remedy=f"such as: my-{name}")


def _require_text(kind: str, text: str, longest: int) -> None:
    columns = sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
    if text != text.strip() or not text.isprintable() or columns > longest or set(text) & _UNSAFE:
        why = f"it must be one line of at most {longest} columns, without quotes, braces and backslashes"
        raise InvalidConfig(f"{text!r} cannot be the name of the {kind}", why=why)
