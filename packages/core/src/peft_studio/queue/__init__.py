"""The offline queue: operations that wait until their platform can be reached, in one SQLite file.

**What is promised.** An operation that `Queue.enqueue` has returned is on the disk (WAL, synchronous FULL) and stays
there until its outcome is: done, or dead with the reason. So it is attempted *at least once*, whatever is killed when.
It has its effect *exactly once* where a repetition can be recognised, and only there:

* A drainer claims an operation (one transaction) before it does anything, and settles it after the platform has
  answered. Killed in between, its lease runs out, another drainer claims the operation, and is told that an earlier
  attempt may have arrived (`is_doubtful`).
* `submit_job`: the ledger's intent says whether the platform was called at all. If it was, the job is looked for by its
  tag and adopted. Only when the platform says that it knows no such job, at least `SETTLING` seconds after the attempt,
  is it submitted again; where the connector cannot look, it never is. What remains: a platform that creates
  the job later than that, and both then carry the same tag for `reconcile` to find.
* `cancel_job`, `stop_deployment`: doing it twice is doing it once.
* `log_metrics`: a doubtful one is looked for in what the tracker reads back before it is repeated. Two operations with
  the same (run, offset) are one.
* `log_events` is folded from the ledger's copy of the job's log, and sent to the same place of the run: the same again
  changes nothing where the tracker knows places (`log_batch`). Elsewhere its rows are looked for; lines may repeat.
* `finish_run` sets the same state again. `upload_artifact` sends the same bytes under the same name again: once on a
  registry that keeps files by name, possibly two versions elsewhere. `log_text` may repeat a line, and `start_run` may
  leave an empty run behind: trackers have nothing to recognise them by. These four are at least once, no more.

A drainer that is suspended for longer than its lease loses it: what it settles afterwards is ignored, and its attempt
may overlap with the next one. That is the same case as a kill, and the same rules hold.

**Order.** Operations of one (connector, stream) are done in the order in which they came, by whichever process; one
that waits for its next attempt or for a confirmation holds the later ones up. What stops costs (`is_urgent`) has
streams of its own and goes before everything else of its connector. Connectors do not wait for each other.

Secrets are gathered when an operation is carried out, and never stored: a payload that holds one is refused.
"""

from __future__ import annotations

from peft_studio.queue.operation import Again, Ask, Dead, Done, NewOperation, Operation, Outcome, State
from peft_studio.queue.store import OperationNotFound, Queue

__all__ = [
    "Again",
    "Ask",
    "Dead",
    "Done",
    "NewOperation",
    "Operation",
    "OperationNotFound",
    "Outcome",
    "Queue",
    "State",
]
