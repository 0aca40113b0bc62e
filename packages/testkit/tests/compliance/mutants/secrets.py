"""Connectors that cannot keep a secret."""

from __future__ import annotations

from mutants import edit, mutant, tried

_ADDRESS = '        address = credentials.get("base_url") or BASE_URL\n'
_LIST = "        return [_resource(machine) for machine in await self._api.machines()]\n"
_SUBMIT = (
    "        await self._api.upload(dataset, place)\n"
    "        return (await self._api.create_job(JobRequest.for_training(config, dataset))).id\n"
)
_ACCOUNT = (
    "    async def account(self) -> Account:\n"
    '        return read(Account, await self._transport.get("v1", "account"))\n'
)

MUTANTS = (
    mutant(
        "secret-is-not-in-repr",
        "The repr shows everything, as that of a data class does.",
        edit("connector.py", _ADDRESS, f"        self._key = key\n{_ADDRESS}"),
        edit(
            "connector.py",
            "    async def disconnect(",
            "    def __repr__(self) -> str:\n"
            '        return f"AcmeConnector(api_key={self._key!r})"\n\n'
            "    async def disconnect(",
        ),
    ),
    mutant(
        "secret-is-not-logged",
        "The headers are logged for those who look for a fault.",
        edit(
            "connector.py",
            _ADDRESS,
            f'{_ADDRESS}        import logging\n        logging.getLogger(__name__).debug("%s", credentials)\n',
        ),
    ),
    mutant(
        "secret-is-not-printed",
        "A print of the first day is still there.",
        edit("connector.py", _ADDRESS, f"{_ADDRESS}        print(credentials)\n"),
    ),
    mutant(
        "secret-is-not-in-errors",
        "A note on the error says what was asked, and with which key.",
        edit("connector.py", _ADDRESS, f"{_ADDRESS}        self._key = key\n"),
        edit(
            "connector.py",
            _LIST,
            tried(
                _LIST,
                "ConnectionFailed as error",
                'error.add_note("asked with " + vars(self).get("_key", "nothing"))',
                "raise",
            ),
        ),
    ),
    mutant(
        "secret-is-not-in-addresses",
        "The key is sent in the query too.",
        edit(
            "api.py",
            _ACCOUNT,
            "    async def account(self, key: str | None = None) -> Account:\n"
            '        query = {"api_key": key} if key else None\n'
            '        return read(Account, await self._transport.get("v1", "account", query=query))\n',
        ),
        edit(
            "connector.py",
            "            await api.account()\n        except BaseException",
            "            await api.account(key)\n        except BaseException",
        ),
    ),
    mutant(
        "secret-stays-with-the-platform",
        "A redirect is followed with the key, wherever it leads.",
        edit("connector.py", _ADDRESS, f"{_ADDRESS}        self._key, self._url = key, address\n"),
        edit(
            "connector.py",
            _LIST,
            tried(
                _LIST,
                "ConnectionFailed as error",
                'if "redirected" in str(error):',
                "    import httpx2",
                '    headers = {"X-Api-Key": self._key}',
                "    async with httpx2.AsyncClient(follow_redirects=True, headers=headers) as client:",
                '        await client.get(f"{self._url}/v1/machines")',
                "raise",
            ),
        ),
    ),
    mutant(
        "secret-is-not-in-the-ledger",
        "The error of a submission repeats what the platform repeats.",
        edit("connector.py", _ADDRESS, f"        self._key = key\n{_ADDRESS}"),
        edit(
            "connector.py",
            _SUBMIT,
            tried(
                _SUBMIT,
                "InvalidCredentials",
                'raise InvalidCredentials("no job was made", why=f"{self._key} is refused") from None',
            ),
        ),
    ),
    mutant(
        "secret-is-not-in-the-job",
        "The job is given the key, so that it can report back.",
        edit("connector.py", _ADDRESS, f"        self._key = key\n{_ADDRESS}"),
        edit(
            "connector.py",
            _SUBMIT,
            "        from attrs import evolve\n"
            "        await self._api.upload(dataset, place)\n"
            "        request = JobRequest.for_training(config, dataset)\n"
            '        request = evolve(request, training={**request.training, "report_with": self._key})\n'
            "        return (await self._api.create_job(request)).id\n",
        ),
    ),
)
