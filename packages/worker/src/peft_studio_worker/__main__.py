"""The worker's command line, used by connectors and by start commands of rented machines."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run one worker command and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] in (["answer"], ["chat"]):
        from peft_studio_worker import generation

        return generation.answer_main(given[1:]) if given[0] == "answer" else generation.chat_main(given[1:])
    options = _parser().parse_args(given)
    if options.command == "serve":
        from peft_studio_worker.serving.server import serve

        return serve()
    if options.command == "supervise" and options.detach and os.fork():
        return 0  # the client has nobody to wait for, and no zombie when the job is over
    if options.command == "train":
        from peft_studio_worker.training import run

        return run(options.job)
    from peft_studio_worker.supervisor import supervise

    return supervise(options.job, options.lock_fd)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="peft-studio-worker", description="The program that trains.")
    commands = parser.add_subparsers(dest="command", required=True)
    supervise = commands.add_parser("supervise", help="run a job and keep its event log")
    supervise.add_argument("job", type=Path, help="the job's folder")
    supervise.add_argument("--lock-fd", type=int, help="descriptor of the job's lock, when the caller has taken it")
    supervise.add_argument("--detach", action="store_true", help="go on in the background and return at once")
    commands.add_parser("serve", help="look after a rented machine and its job; reads PEFT_STUDIO_WORKER_* variables")
    train = commands.add_parser("train", help="the training process itself, as the supervisor starts it")
    train.add_argument("job", type=Path, help="the job's folder")
    commands.add_parser("answer", help="answer a file of questions with a model")
    commands.add_parser("chat", help="talk to an adapter")
    return parser


if __name__ == "__main__":
    sys.exit(main())
