"""`peft-studio-worker serve`: uvicorn, signals, and the machine's watchdog in one process."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn

from peft_studio.errors import InvalidConfig
from peft_studio_worker import __version__
from peft_studio_worker.serving.api import application
from peft_studio_worker.serving.machine import Machine
from peft_studio_worker.serving.settings import Settings

REFUSED: Final = 78
#: Seconds that answers under way have when the worker goes down.
_GRACE: Final = 3


def serve() -> int:
    """Serve until a signal comes. Returns 0 then, or 78 when the settings cannot be used."""
    try:
        settings = Settings.take()
        secure = _tls(settings)
        listener = _listen(settings)
        machine = Machine(settings, time.time)
        machine.wake()
    except InvalidConfig as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"the worker cannot serve: {error.filename or settings.root}: {error.strerror}")
    asyncio.run(_serve(settings, machine, listener, secure))
    return 0


async def _serve(settings: Settings, machine: Machine, listener: socket.socket, secure: ssl.SSLContext | None) -> None:
    asked, closing = asyncio.Event(), asyncio.Event()
    server = _server(settings, machine, closing, secure)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    living = asyncio.create_task(machine.live())
    host, port = listener.getsockname()[:2]
    _say(f"worker {__version__} serves job {settings.job_id} at {'https' if secure else 'http'}://{host}:{port}")
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await asked.wait()
    living.cancel()
    await asyncio.to_thread(machine.go_down)  # whoever follows the job hears of its checkpoint
    closing.set()
    server.should_exit = True
    await serving


def _server(
    settings: Settings, machine: Machine, closing: asyncio.Event, secure: ssl.SSLContext | None
) -> uvicorn.Server:
    config = uvicorn.Config(
        application(machine, settings.token, closing),
        loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_keep_alive=75, timeout_graceful_shutdown=_GRACE,
    )  # fmt: skip
    config.load()
    config.ssl = secure
    return _Server(config)


class _Server(uvicorn.Server):
    """Signals are the machine's business: the job comes first."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """The certificate that the client brought and pins. The key is on the disk for a moment, for its owner alone."""
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "pair.pem"
        pair.touch(0o600)
        pair.write_text(f"{settings.certificate}\n{settings.key}\n", encoding="ascii")
        try:
            context.load_cert_chain(pair)
        except ssl.SSLError as error:
            why = error.reason or "it is damaged"
            raise InvalidConfig(
                "PEFT_STUDIO_WORKER_CERTIFICATE and _KEY are no pair that can be used", why=why
            ) from error
    return context


def _listen(settings: Settings) -> socket.socket:
    """The socket. asyncio sends without delay only where the protocol is named."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen()  # from here on a client waits, and is not refused
    except OSError as error:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        raise InvalidConfig(f"the worker cannot listen on {where}", why=error.strerror) from error
    return listener


def _refuse(sentence: str) -> int:
    _say(sentence)
    return REFUSED


def _say(sentence: str) -> None:
    sys.stderr.write(f"peft-studio-worker: {sentence}\n")
    sys.stderr.flush()
