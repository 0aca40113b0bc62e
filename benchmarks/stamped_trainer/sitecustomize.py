"""Makes our trainer print stamped lines on stderr beside its work; Python imports this when it is on PYTHONPATH.

The lines take the way of everything that a trainer prints: its pipe, the supervisor, the event log, the follower.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

if "peft_studio_worker" in sys.orig_argv and "train" in sys.orig_argv:
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    from stamps import emit

    threading.Thread(target=emit, args=(10_000, 2), daemon=True).start()
