"""What the SQLite files of this package have in common: the journal that lets readers and writers work at once."""

from __future__ import annotations

import sqlite3
import time

#: Seconds to wait for a process that is making the same file.
_PATIENCE = 30.0


def use_write_ahead_log(db: sqlite3.Connection) -> None:
    """Switch the file to WAL, which stays with it.

    While several processes do this to a new file at the same moment, SQLite refuses all but one at once, whatever
    timeout the connection has: waiting could be for ever if each of them held a lock that another one wants.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return
