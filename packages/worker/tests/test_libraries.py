"""How the libraries come into the process."""

from __future__ import annotations

import gc

from peft_studio_worker.training.libraries import import_libraries


def test_collector_has_rested() -> None:
    """What the libraries made is never looked at again; what comes afterwards is."""
    import_libraries()

    assert 100_000 < gc.get_freeze_count()
    assert gc.isenabled()
