"""Connectors that bring home something else than the adapter."""

from __future__ import annotations

from mutants import body, edit, mutant, tried
from mutants.logs import _OWN_TRANSPORT

_FILES = "        files = await self._api.job_files(job_id)\n"
_HOME = "        return await bring_home(files, destination, partial(self._api.download_job_file, job_id))\n"
_PLACE = '        place = ("v1", "jobs", job_id, "files", *file.name.split("/"))\n'
_DOWNLOAD = "        await self._transport.download(*place, file=destination, sha256=file.sha256, size=file.size)\n"
_JOB_FILE = f"{_PLACE}{_DOWNLOAD}"
_ITEMS = '        items = self._transport.pages("v1", "jobs", job_id, "files", missing=JobNotFound)\n'
_READ = f"{_ITEMS}        return [read(File, item) async for item in items]\n"
_LIST = "    async def list_resources("


MUTANTS = (
    mutant(
        "artifact-arrives",
        "download_artifact answers the folder above.",
        edit("connector.py", _HOME, _HOME.replace("return await", "await") + "        return destination.parent\n"),
        also={
            "artifact-as-bytes": "fetch_artifact is built on download_artifact",
            "job-leaves-nothing-open": "it fetches the artifact too",
        },
    ),
    mutant(
        "nothing-else-is-left",
        "A report lies beside the folder.",
        edit(
            "connector.py",
            _HOME,
            body(
                "home = await bring_home(files, destination, partial(self._api.download_job_file, job_id))",
                'destination.with_suffix(".report").write_text("all went well")',
                "return home",
            ),
        ),
    ),
    mutant(
        "missing-folders-are-made",
        "The folder above must be there.",
        edit(
            "connector.py",
            _FILES,
            _FILES
            + body(
                "if not destination.parent.is_dir():", '    raise InvalidConfig(f"there is no {destination.parent}")'
            ),
        ),
    ),
    mutant(
        "full-folder-is-left-alone",
        "What stands where the adapter shall go makes room.",
        edit("connector.py", _HOME, body("import shutil", "shutil.rmtree(destination, ignore_errors=True)") + _HOME),
    ),
    mutant(
        "running-job-has-no-artifact",
        "The adapter of a running job is an empty folder.",
        edit(
            "connector.py",
            _FILES,
            _FILES + body("if not files:", "    destination.mkdir(parents=True)", "    return destination"),
        ),
    ),
    mutant(
        "unknown-job-has-no-artifact",
        "A job that is not known is like any other refusal.",
        edit("api.py", _READ, _READ.replace(", missing=JobNotFound", "")),
        also={"missing-bytes-are-an-error": "fetch_artifact is built on download_artifact"},
    ),
    mutant(
        "artifact-as-bytes",
        "The bytes are those of one file.",
        edit(
            "connector.py",
            _LIST,
            "    async def fetch_artifact(self, job_id: str) -> bytes:\n"
            "        import io, tarfile\n\n"
            "        with tarfile.open(fileobj=io.BytesIO(await super().fetch_artifact(job_id))) as archive:\n"
            '            return archive.extractfile("adapter_model.safetensors").read()\n\n' + _LIST,
        ),
    ),
    mutant(
        "missing-bytes-are-an-error",
        "No adapter is no bytes.",
        edit(
            "connector.py",
            _LIST,
            "    async def fetch_artifact(self, job_id: str) -> bytes:\n"
            + tried(body("return await super().fetch_artifact(job_id)"), "Exception", 'return b""')
            + f"\n{_LIST}",
        ),
    ),
    mutant(
        "cut-download-goes-on",
        "A download that is cut begins again.",
        *_OWN_TRANSPORT,
        edit(
            "api.py",
            _JOB_FILE,
            _PLACE
            + body(
                "for attempt in (1, 2):",
                "    try:",
                "        await self.once.download(*place, file=destination, sha256=file.sha256, size=file.size)",
                "        return",
                "    except ConnectionFailed:",
                '        destination.with_name(f"{destination.name}.part").unlink(missing_ok=True)',
                "        if attempt == 2:",
                "            raise",
            ),
        ),
    ),
    mutant(
        "torn-download-is-no-folder",
        "What has arrived before the connection broke gets the final name.",
        edit(
            "connector.py",
            _HOME,
            body(
                "try:",
                f"    {_HOME.strip()}",
                "except ConnectionFailed as error:",
                '    if "reset" in str(error):',
                "        destination.mkdir(parents=True)",
                "    raise",
            ),
        ),
    ),
    mutant(
        "torn-download-can-be-repeated",
        "A lock of the first attempt stands in the way of the second.",
        edit(
            "connector.py",
            _HOME,
            body(
                'lock = destination.with_name(".acme-lock")',
                "if lock.exists():",
                '    raise PlatformError("somebody else downloads this")',
                "lock.parent.mkdir(parents=True, exist_ok=True)",
                "lock.touch()",
                "home = await bring_home(files, destination, partial(self._api.download_job_file, job_id))",
                "lock.unlink()",
                "return home",
            ),
        ),
    ),
    mutant(
        "corrupt-byte-is-noticed",
        "The checksum is ignored.",
        edit("api.py", _JOB_FILE, _JOB_FILE.replace(" sha256=file.sha256,", "")),
    ),
    mutant(
        "short-download-is-noticed",
        "A file of which nothing came is an empty file.",
        edit(
            "api.py",
            _JOB_FILE,
            _PLACE
            + body(
                "try:",
                f"    {_DOWNLOAD.strip()}",
                "except ConnectionFailed as error:",
                '    if "brought 0 bytes" not in str(error):',
                "        raise",
                "    destination.parent.mkdir(parents=True, exist_ok=True)",
                "    destination.touch()",
            ),
        ),
    ),
    mutant(
        "names-stay-in-the-folder",
        "Names are taken as they come, and asked for as they are.",
        edit(
            "api.py",
            _READ,
            _ITEMS
            + body("from types import SimpleNamespace", "return [SimpleNamespace(**item) async for item in items]"),
        ),
        edit("api.py", _JOB_FILE, _JOB_FILE.replace('*file.name.split("/")', "file.name")),
    ),
    mutant(
        "names-keep-unicode",
        "Files whose names are not ASCII are left out.",
        edit(
            "api.py",
            _READ,
            _READ.replace(" async for item in items]", ' async for item in items if item["name"].isascii()]'),
        ),
    ),
    mutant(
        "memory-is-bounded",
        "The file is read whole, to be sure of its checksum.",
        edit(
            "api.py",
            _JOB_FILE,
            _JOB_FILE
            + body("import hashlib", "assert hashlib.sha256(destination.read_bytes()).hexdigest() == file.sha256"),
        ),
    ),
)
