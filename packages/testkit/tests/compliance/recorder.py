"""Put into the reference connector, it notes each function of the package that is entered, in any process and thread.

The notes lie beside the directory that the package is installed in; a line is a file and a function.
"""

from __future__ import annotations

import atexit
import inspect
import os
import sys
import threading
from functools import cache
from pathlib import Path
from types import FrameType

_PACKAGE = f"{Path(__file__).parent}{os.sep}"
_NOTES = Path(__file__).parents[2] / "entered.txt"


def _watch(frame: FrameType, event: str, argument: object) -> None:
    code = frame.f_code
    # The bodies of modules and classes are no functions: an import runs them, and it must not write a file.
    if code.co_filename.startswith(_PACKAGE) and code.co_flags & inspect.CO_OPTIMIZED:
        function = code.co_qualname.partition(".<locals>")[0]
        os.write(_notes(), f"{Path(code.co_filename).name}:{function}\n".encode())


@cache
def _notes() -> int:
    return os.open(_NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


threading.settrace(_watch)
sys.settrace(_watch)
atexit.register(sys.settrace, None)  # what is called while Python takes itself apart finds no modules any more
