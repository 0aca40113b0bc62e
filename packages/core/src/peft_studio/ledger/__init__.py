"""The ledger: every job, every intent to change something on a platform, and a copy of every event, in one SQLite file.

An intent is on disk before the platform is called, so that no crash can make us forget what may exist there. A job
moves only as `transitions` allows; what a platform says beyond that is refused and noted in its own words.
"""

from __future__ import annotations

from peft_studio.ledger.deadlines import NextAction, Overdue, Phase
from peft_studio.ledger.records import QUEUED, Intent, JobRecord, Note
from peft_studio.ledger.store import Ledger

__all__ = ["QUEUED", "Intent", "JobRecord", "Ledger", "NextAction", "Note", "Overdue", "Phase"]
