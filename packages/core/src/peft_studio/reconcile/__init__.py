"""What the ledger says and what platforms have, brought together: nothing that costs is forgotten.

Open submissions are looked for by their tag, open cancellations and teardowns are tried again, and what lives on an
account is listed with the job that it belongs to. Only what the ledger knows to be ours is ever ended.
"""

from __future__ import annotations

from peft_studio.reconcile.account import Account, Ended, Living, Standing
from peft_studio.reconcile.briefly import reconcile_briefly
from peft_studio.reconcile.reconciler import Reconciler

__all__ = ["Account", "Ended", "Living", "Reconciler", "Standing", "reconcile_briefly"]
