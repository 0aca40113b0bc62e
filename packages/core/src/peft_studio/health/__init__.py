"""Is each platform there, does it know us, how quickly does it answer?

Every connector is asked in a thread and an event loop of its own, so that one which hangs, even one that blocks its
loop, delays nobody.
"""

from __future__ import annotations

from peft_studio.health.monitor import HealthMonitor
from peft_studio.health.prober import check
from peft_studio.health.report import Condition, Health

__all__ = ["Condition", "Health", "HealthMonitor", "check"]
