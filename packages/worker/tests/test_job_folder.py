"""The job folder: its lock tells the truth, its small files are whole."""

import os
import subprocess
import sys

import pytest

from peft_studio_worker.job_folder import JobFolder, Request


@pytest.fixture
def folder(tmp_path):
    """A job's folder."""
    return JobFolder(tmp_path)


def hold(folder, *command):
    """A process that inherits the job's lock, which we let go."""
    lock = folder.take_lock()
    process = subprocess.Popen(command, pass_fds=(lock,), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    os.close(lock)
    return process


def test_lock_is_inherited(folder):
    """A job lives as long as a process that inherited its lock, without a moment in between."""
    holder = hold(folder, sys.executable, "-c", "input()")
    assert folder.is_alive()
    assert folder.take_lock() is None

    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    assert not folder.is_alive()


def test_zombie_is_dead(folder):
    """A killed process that nobody has waited for does not keep the job alive."""
    holder = hold(folder, sys.executable, "-c", "input()")
    holder.kill()
    holder.stdout.read()  # ends when the process has ended
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)

    assert not folder.is_alive()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()


def test_grandchild_keeps_the_job_alive(folder):
    """While the trainer lives, nobody may start a second one, even when the supervisor is gone."""
    program = (
        "import subprocess, sys\n"
        "fd = int(sys.argv[1])\n"
        "subprocess.Popen([sys.executable, '-c', 'input()'], stdin=0, pass_fds=(fd,))\n"
    )
    lock = folder.take_lock()
    read, write = os.pipe()
    os.set_inheritable(lock, True)
    subprocess.run([sys.executable, "-c", program, str(lock)], stdin=read, pass_fds=(lock,), check=True)
    os.close(lock)
    os.close(read)

    assert folder.is_alive()
    os.close(write)  # the grandchild's input ends, and so does it
    for _ in range(1000):
        if not folder.is_alive():
            break
        os.sched_yield()
        subprocess.run(["true"], check=True)
    assert not folder.is_alive()


def test_request_is_taken_once(folder):
    """A request is there once."""
    folder.write_request("pause")

    assert [Request("pause", "asked to pause"), None] == [folder.take_request(), folder.take_request()]


def test_small_files_are_private_and_whole(folder):
    """job.json is readable by its owner alone, and no draft stays beside it."""
    folder.write_job({"id": "x", "config": {}})

    assert ["job.json"] == [path.name for path in folder.path.iterdir()]
    assert 0o600 == (folder.path / "job.json").stat().st_mode & 0o777
