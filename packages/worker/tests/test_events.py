"""The event log: numbered, append-only, never half a line."""

import subprocess
import sys
import threading

import pytest

from peft_studio_worker.events import EventLog, EventTail, last_event, last_sequence, read_backwards


@pytest.fixture
def path(tmp_path):
    """Where a log will be."""
    return tmp_path / "events.jsonl"


def write(path, *messages):
    """Append log events."""
    log = EventLog(path)
    for message in messages:
        log.append("log", {"message": message})
    log.close()


def test_numbers_go_on(path):
    """A log that is opened again goes on counting."""
    write(path, "a", "b")
    write(path, "c")

    assert [(1, "a"), (2, "b"), (3, "c")] == [(e.sequence, e.data["message"]) for e in EventTail(path).read()]


def test_tail_reads_each_event_once(path):
    """A reader gets what is new, from where it asked to start."""
    write(path, "a", "b")
    tail = EventTail(path, after=1)

    assert ["b"] == [event.data["message"] for event in tail.read()]
    assert [] == tail.read()
    write(path, "c")
    assert ["c"] == [event.data["message"] for event in tail.read()]


def test_no_log_yet(path):
    """A log that does not exist yet has no events."""
    assert [] == EventTail(path).read()
    assert last_event(path, "state") is None


def test_torn_line(path):
    """Half a line counts for no reader, and the next writer takes it away."""
    write(path, "a")
    with path.open("ab") as file:
        file.write(b'{"sequence":2,"time":"20')

    assert ["a"] == [event.data["message"] for event in EventTail(path).read()]
    write(path, "b")
    assert [(1, "a"), (2, "b")] == [(e.sequence, e.data["message"]) for e in EventTail(path).read()]


def test_only_a_torn_line(path):
    """A log that was torn in its first line starts anew."""
    path.write_bytes(b'{"seq')
    write(path, "a")

    assert 1 == last_sequence(path)


def test_text_of_any_kind(path):
    """Line breaks and other scripts stay inside their event."""
    write(path, "two\nlines", "ł→漢\u2028x", '"type":"state"')

    assert ["two\nlines", "ł→漢\u2028x", '"type":"state"'] == [e.data["message"] for e in EventTail(path).read()]
    assert last_event(path, "state") is None


def test_last_event_looks_at_the_events_own_type(path):
    """What lies deeper in another event is not mistaken for its type."""
    log = EventLog(path)
    log.append("start", {"versions": {"type": "state"}})
    log.close()

    assert last_event(path, "state") is None


def test_threads_share_a_log(path):
    """Threads that append at once leave no gap and no mixed line."""
    log = EventLog(path)
    threads = [
        threading.Thread(target=lambda: [log.append("log", {"message": "x" * 500}) for _ in range(200)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()

    assert list(range(1, 801)) == [event.sequence for event in EventTail(path).read()]


@pytest.mark.parametrize("block", [1, 7, 64, 65536])
def test_backwards(path, block):
    """Read from the end, the lines are the same, whatever the size of the block."""
    write(path, *(f"line {number} {'x' * number}" for number in range(30)))

    assert path.read_bytes().splitlines() == list(read_backwards(path, block))[::-1]


def test_full_disk(path):
    """On a full disk no half line stays, and the error names the file; what was there is untouched."""
    write(path, "a")
    program = (
        "import resource, sys, pathlib, signal\n"
        "from peft_studio_worker import events\nevents.PATIENCE_WITH_FULL_DISK = 0.1\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "log = events.EventLog(pathlib.Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
        "for _ in range(10):\n"
        "    log.append('log', {'message': 'x' * 100})\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)

    assert "OSError" in done.stderr
    assert all(line.endswith(b"}") for line in path.read_bytes().splitlines())
