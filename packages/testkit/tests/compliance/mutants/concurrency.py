"""Connectors for one call at a time."""

from __future__ import annotations

from mutants import body, edit, mutant, tried

_MACHINES = '        return [read(Machine, item) async for item in self._transport.pages("v1", "machines")]\n'
_ADDRESS = '        address = credentials.get("base_url") or BASE_URL\n'

MUTANTS = (
    mutant(
        "calls-at-once",
        "The list is gathered in the instance, where calls that go on at once meet.",
        edit(
            "api.py",
            _MACHINES,
            "        self._found: list[Machine] = []\n"
            '        async for item in self._transport.pages("v1", "machines"):\n'
            "            self._found.append(read(Machine, item))\n"
            "        return self._found\n",
        ),
    ),
    mutant(
        "event-loop-stays-free",
        "A blocking request looks first whether the platform is there.",
        edit("connector.py", _ADDRESS, f"{_ADDRESS}        self._url = address\n"),
        edit(
            "connector.py",
            "        return [_resource(machine) for machine in await self._api.machines()]\n",
            "        import contextlib, urllib.request\n\n"
            "        api = self._api\n"
            "        with contextlib.suppress(OSError):\n"
            '            urllib.request.urlopen(f"{self._url}/status", timeout=1).close()\n'
            "        return [_resource(machine) for machine in await api.machines()]\n",
        ),
    ),
    mutant(
        "cancelled-call-leaves-nothing-open",
        "A call that is cancelled answers an empty list.",
        edit(
            "api.py",
            _MACHINES,
            body("import asyncio") + tried(_MACHINES, "asyncio.CancelledError", "return []"),
        ),
    ),
    mutant(
        "instance-survives-a-cancelled-call",
        "A call that is cancelled takes the whole connection with it.",
        edit(
            "api.py",
            _MACHINES,
            body("import asyncio") + tried(_MACHINES, "asyncio.CancelledError", "await self.close()", "raise"),
        ),
    ),
)
