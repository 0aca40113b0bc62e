"""transformers and peft, imported as quickly as can be.

They and torch make a third of a million objects that stay until the process ends. While they come, and once more at
the end, the garbage collector would look through all of them and find nothing: a second and a half of the five that a
very short job takes.
"""

from __future__ import annotations

import gc
from functools import cache


@cache
def import_libraries() -> None:
    """Import them, once, with the collector at rest; it never looks at what is there then."""
    gc.disable()
    try:
        import peft  # noqa: F401
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()
