"""Where a connector's credentials come from, and where `auth login` keeps them.

Each field is looked for in the argument, the environment, vault plugins, an encrypted file, the keyring, and the
platform's own login file, in this order. Where it was found is data (`Found`), of which its value is no part.
"""

from __future__ import annotations

from peft_studio.credentials.found import Found, Source
from peft_studio.credentials.gathering import Gathered, gather, require
from peft_studio.credentials.sources import Sources

__all__ = ["Found", "Gathered", "Source", "Sources", "gather", "require"]
