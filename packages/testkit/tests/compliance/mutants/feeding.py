"""Connectors that bring files to a job after its submission, and get that wrong."""

from __future__ import annotations

from mutants import Mutant, body, edit, mutant

_UPLOAD = "        await self._api.upload(dataset, place)\n        return (await self._api.create_job("
_CREATE = "        return (await self._api.create_job(JobRequest.for_training(config, dataset))).id\n"
_FIND = "\n    async def find_job(self, tag: str) -> str | None:\n"
_SIGNATURE = "    async def feed_job(self, job_id: str, config: TrainingConfig, tell: object = None) -> None:\n"
_BRING = "        await self._api.bring(dataset, place)\n"
_BEGIN = '        await self._api.command_job(job_id, "begin")\n'
_INIT = "        self._connection: AcmeApi | None = None\n"
_CANCEL = '        return _status(await self._api.command_job(job_id, "cancel")).is_terminal\n'
_HAS = "            if not await self.has(file):\n                raise\n"
_MACHINES = "    # Machines and jobs.\n\n    async def machines("

#: The reference, on a platform where a job waits until its dataset has been brought to it.
FEEDS = (
    edit("connector.py", _UPLOAD, _UPLOAD.partition("\n")[2]),
    edit(
        "connector.py",
        _FIND,
        f"\n{_SIGNATURE}"
        + body(
            "place = Path(config.dataset_path)",
            "dataset = await asyncio.to_thread(described, place.name, place)",
        )
        + f"{_BRING}{_BEGIN}{_FIND}",
    ),
    edit(
        "api.py",
        _MACHINES,
        "    async def bring(self, file: File, place: Path) -> None:\n"
        + body(
            "if await self.has(file):",
            "    return",
            "try:",
            '    await self._transport.upload("v1", "files", file.sha256, file=place)',
            "except ConnectionFailed:",
        )
        + f"{_HAS}\n    async def has(self, file: File) -> bool:\n"
        + body(
            "try:",
            '    await self._transport.head("v1", "files", file.sha256, missing=JobNotFound)',
            "except JobNotFound:",
            "    return False",
            "return True",
        )
        + f"\n{_MACHINES}",
    ),
    edit(
        "sandbox.py",
        '            Route("/v1/machines", self.machines),\n',
        '            Route("/v1/files/{sha256}", self.show_upload),\n'
        '            Route("/v1/machines", self.machines),\n',
    ),
    edit(
        "sandbox.py",
        "    def _upload(self, sha256: str) -> Path:\n",
        "    async def show_upload(self, request: Request) -> Response:\n"
        + body(
            'if not self._upload(request.path_params["sha256"]).is_file():',
            '    raise HTTPException(404, "it was not uploaded")',
            "return Response()",
        )
        + "\n    def _begin(self, job: Job) -> bool:\n"
        + body(
            'place = Path(job.received["dataset_path"])',
            'self._dataset({"sha256": place.parent.name, "name": place.name})',
            "return job.begin(job.received)",
        )
        + "\n    def _upload(self, sha256: str) -> Path:\n",
    ),
    edit(
        "sandbox.py",
        '        dataset = self._dataset(asked["dataset"])\n',
        '        file = asked["dataset"]\n'
        '        dataset = self.folder / "datasets" / file["sha256"] / Path(file["name"]).name\n',
    ),
    edit(
        "sandbox.py",
        'self.jobs.add({**asked["training"], **names})',
        'self.jobs.add({**asked["training"], **names}, is_held=True)',
    ),
    edit(
        "sandbox.py",
        '            "cancel": (job.status.is_terminal, job.cancel),\n',
        '            "begin": (not job.is_held, lambda: self._begin(job)),\n'
        '            "cancel": (job.status.is_terminal, job.cancel),\n',
    ),
)


def _mutant(check: str, fault: str, *edits: object, **more: object) -> Mutant:
    return mutant(check, fault, *FEEDS, *edits, features=("training",), **more)  # type: ignore[arg-type]


MUTANTS = (
    _mutant(
        "unfed-job-waits",
        "The submission brings the files too: who loses its answer does not know of the job that runs.",
        edit(
            "connector.py",
            _CREATE,
            "        id = (await self._api.create_job(JobRequest.for_training(config, dataset))).id\n"
            "        await self.feed_job(id, config)\n"
            "        return id\n",
        ),
    ),
    _mutant(
        "unfed-job-can-be-cancelled",
        "A job that this instance has not fed is taken for one that does not run, and costs nothing.",
        edit("connector.py", _INIT, f"{_INIT}        self._fed: set[str] = set()\n"),
        edit("connector.py", _BEGIN, f"{_BEGIN}        self._fed.add(job_id)\n"),
        edit(
            "connector.py",
            _CANCEL,
            "        if job_id not in self._fed:\n"
            "            await self._api.job(job_id)\n"
            f"            return True\n{_CANCEL}",
        ),
    ),
    _mutant(
        "fed-twice-is-fed-once",
        "A job that has begun cannot be fed.",
        edit(
            "connector.py",
            _BEGIN,
            "        if _status(await self._api.job(job_id)) is not JobStatus.PENDING:\n"
            '            raise InvalidConfig(f"job {job_id} has begun")\n'
            f"{_BEGIN}",
        ),
    ),
    _mutant(
        "anybody-may-feed",
        "What is to be brought is remembered by the instance that submitted the job.",
        edit("connector.py", _INIT, f"{_INIT}        self._mine: set[str] = set()\n"),
        edit(
            "connector.py",
            _CREATE,
            "        id = (await self._api.create_job(JobRequest.for_training(config, dataset))).id\n"
            "        self._mine.add(id)\n"
            "        return id\n",
        ),
        edit(
            "connector.py",
            _BEGIN,
            f"        await self._api.job(job_id)\n        if job_id in self._mine:\n    {_BEGIN}",
        ),
    ),
    _mutant(
        "unknown-job-is-not-fed",
        "Feeding a job that is not there is as good as having fed it.",
        edit(
            "connector.py",
            _BEGIN,
            f"        from peft_studio import JobNotFound\n        try:\n    {_BEGIN}"
            "        except JobNotFound:\n            return\n",
        ),
    ),
    _mutant(
        "feeding-without-an-answer",
        "Whoever cannot be reached is fed some other time.",
        edit(
            "connector.py",
            _BRING,
            f"        try:\n    {_BRING}        except ConnectionFailed:\n            return\n",
        ),
    ),
    _mutant(
        "upload-is-not-repeated",
        "After a lost answer everything is sent again.",
        edit(
            "api.py",
            _HAS,
            '            await self._transport.upload("v1", "files", file.sha256, file=place)\n',
        ),
    ),
)
