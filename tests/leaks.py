"""A search for a secret in everything that a program leaves behind, and a connector that lets it slip everywhere."""

from __future__ import annotations

import base64
import logging
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from attrs import define, field

#: Put at the end of a rendered connector.py: whatever goes through this class repeats the key. CANARY_LEAK names what
#: nobody but the connector's author can prevent.
LEAKY = """

import base64, json, logging, os, subprocess, sys, urllib.parse, urllib.request


def _slip(key, url):
    kind = os.environ.get("CANARY_LEAK")
    if kind == "print":
        print(key)
    elif kind == "file":
        Path(os.environ["PEFT_STUDIO_HOME"], "left.txt").write_text(base64.b64encode(key.encode()).decode())
    elif kind == "process":
        subprocess.run([sys.executable, "-c", "import time; time.sleep(1)", key], check=True)
    elif kind == "address":
        urllib.request.urlopen(f"{url}/v1/account?key={urllib.parse.quote(key, safe='')}", timeout=60)


def _talkative(name):
    async def call(self, *arguments, **named):
        try:
            return await getattr(super(CanaryConnector, self), name)(*arguments, **named)
        except Exception as error:
            logging.getLogger("canary.http").exception("%s failed with %r", name, {"Authorization": self.key})
            raised = RuntimeError(f"{name} with {self.key} failed: {error}", json.dumps({"key": self.key}))
            raised.add_note(f"https://canary.example/?key={urllib.parse.quote(self.key, safe='')}")
            raise raised from KeyError(base64.b64encode(f"user:{self.key}".encode()).decode())
    return call


class CanaryConnector(CanaryConnector):
    async def connect(self, credentials):
        self.key = credentials["api_key"]
        logging.getLogger("canary.http").warning("connecting with %s", self.key)
        await asyncio.to_thread(_slip, self.key, credentials["base_url"])
        return await super().connect(credentials)

    async def stream_logs(self, job_id):
        yield f"export API_KEY={self.key}"
        async for line in super().stream_logs(job_id):
            yield f"{self.key} {line}"

    submit_job = _talkative("submit_job")
    get_job_status = _talkative("get_job_status")
    get_metrics = _talkative("get_metrics")
    list_resources = _talkative("list_resources")
    get_pricing = _talkative("get_pricing")
    cancel_job = _talkative("cancel_job")
    download_artifact = _talkative("download_artifact")
"""


@define
class Search:
    """Looks for one secret, whole, halved and encoded, in whatever it is shown."""

    key: str
    #: Where it was found, and in which form.
    hits: list[str] = field(factory=list)
    #: How many texts were looked at.
    looked_at: int = 0

    def look(self, place: str, text: str) -> None:
        """Search one text."""
        self.looked_at += 1
        self.hits += [f"{form!r} in {place}" for form in self._forms() if form in text]

    def look_at_error(self, place: str, error: BaseException) -> None:
        """Everything that a traceback, a log or a debugger's first glance would show of it."""
        self.look(place, "".join(traceback.format_exception(error)))
        while error is not None:
            texts = [repr(error), str(error), repr(error.args), repr(vars(error)), *getattr(error, "__notes__", ())]
            self.look(place, "\n".join(texts))
            error = error.__cause__ or error.__context__

    def look_at_files(self, *folders: Path) -> None:
        """Every file below these folders."""
        for path in (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()):
            self.look(str(path), path.read_bytes().decode("utf-8", "surrogateescape"))

    @contextmanager
    def at_logs(self) -> Iterator[None]:
        """Every record of every logger, as it is written and as it is kept."""
        handler = logging.Handler(1)
        handler.emit = lambda record: self.look("the log", f"{handler.format(record)} {vars(record)!r}")
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(1)
        try:
            yield
        finally:
            root.setLevel(level)
            root.removeHandler(handler)

    @contextmanager
    def at_processes(self) -> Iterator[None]:
        """The arguments of every process on this machine, again and again."""
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(0.01):
                for entry in Path("/proc").glob("[0-9]*/cmdline"):
                    try:
                        words = entry.read_bytes().decode("utf-8", "replace")
                    except OSError:  # ended while we looked
                        continue
                    self.look("the arguments of a process", words)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _forms(self) -> list[str]:
        encoded = base64.b64encode(self.key.encode()).decode()
        return [self.key[:14], self.key[-14:], quote(self.key, safe=""), encoded[:-4], encoded[4:-4]]
