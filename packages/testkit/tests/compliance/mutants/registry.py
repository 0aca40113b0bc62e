"""Connectors that keep less than a model, or find less than there is."""

from __future__ import annotations

from mutants import body, edit, mutant, tried

_SEARCH = "        return [_model_info(model) for model in await self._api.models(query)]\n"
_INFO = "        return _model_info(await self._api.model(model_id))\n"
_HOME = "        return await bring_home(files, destination, partial(self._api.download_model_file, model_id))\n"
_PAGES = 'self._transport.pages("v1", "models", query={"search": search})'
_MODELS = f"        return [read(Model, item) async for item in {_PAGES}]\n"
_PLACE = '        place = ("v1", "models", model_id, "files", *file.name.split("/"))\n'
_DOWNLOAD = "        await self._transport.download(*place, file=destination, sha256=file.sha256, size=file.size)\n"
_ITEMS = '        items = self._transport.pages("v1", "models", model_id, "files", missing=ArtifactNotFound)\n'
_READ = f"{_ITEMS}        return [read(File, item) async for item in items]\n"
_UPLOAD = "            await self._api.upload(file, places[file.name])\n"


MUTANTS = (
    mutant(
        "upload-answers-the-id",
        "upload_artifact answers the name, of which there may be many.",
        edit(
            "connector.py", "(await self._api.create_model(request)).id", "(await self._api.create_model(request)).name"
        ),
        ruins="nothing can be asked of a model whose id is not known",
    ),
    mutant(
        "upload-is-whole",
        "Folders in the folder are left out.",
        edit("files.py", 'source.rglob("*")', 'source.glob("*")'),
    ),
    mutant(
        "upload-of-one-file",
        "Only folders can be uploaded.",
        edit("files.py", "    if source.is_file():\n        return {source.name: source}\n", ""),
    ),
    mutant(
        "upload-of-nothing",
        "The error does not say what is not there.",
        edit(
            "files.py",
            'InvalidConfig(f"there is nothing to upload in {source}")',
            'InvalidConfig("there is nothing to upload")',
        ),
    ),
    mutant(
        "metadata-are-kept",
        "The base model is not passed on.",
        edit("connector.py", 'base_model=metadata.get("base_model"),', "base_model=None,"),
    ),
    mutant(
        "uploaded-model-is-found",
        "An upload is a draft, and a search does not show drafts.",
        edit("connector.py", 'tags=tuple(metadata.get("tags", ())),', 'tags=("draft",),'),
        edit("connector.py", _SEARCH, _SEARCH.replace("(query)]", '(query) if "draft" not in model.tags]')),
    ),
    mutant(
        "search-answers-models",
        "Models are passed on in a class of their own.",
        edit(
            "connector.py",
            _SEARCH,
            body(
                "from types import SimpleNamespace",
                "import attrs",
                "found = [_model_info(model) for model in await self._api.models(query)]",
                "return [SimpleNamespace(**attrs.asdict(model)) for model in found]",
            ),
        ),
    ),
    mutant(
        "search-finds-nothing",
        "A search that finds nothing is an error.",
        edit(
            "connector.py",
            _SEARCH,
            body(
                "found = [_model_info(model) for model in await self._api.models(query)]",
                "if not found:",
                '    raise ArtifactNotFound(f"no model matches {query}")',
                "return found",
            ),
        ),
    ),
    mutant(
        "search-finds-unicode",
        "What is searched for is sent in ASCII.",
        edit("connector.py", _SEARCH, _SEARCH.replace("(query)", '(query.encode("ascii", "replace").decode())')),
    ),
    mutant(
        "search-reads-every-page",
        "A hundred models are enough.",
        edit(
            "api.py",
            _MODELS,
            body(
                "found: list[Model] = []",
                f"async with aclosing({_PAGES}) as items:",
                "    async for item in items:",
                "        found.append(read(Model, item))",
                "        if len(found) == 100:",
                "            break",
                "return found",
            ),
        ),
    ),
    mutant(
        "search-that-breaks-is-an-error",
        "What was found until the platform failed is what there is.",
        edit(
            "api.py",
            _MODELS,
            body(
                "found: list[Model] = []",
                "try:",
                f"    async for item in {_PAGES}:",
                "        found.append(read(Model, item))",
                "except ConnectionFailed:",
                "    pass",
                "return found",
            ),
        ),
    ),
    mutant(
        "model-is-described",
        "The base model is not told.",
        edit(
            "connector.py",
            _INFO,
            body("model = await self._api.model(model_id)", "return ModelInfo(id=model.id, name=model.name)"),
        ),
    ),
    mutant(
        "unknown-model-is-an-error",
        "A model that is not known has a description all the same.",
        edit(
            "connector.py",
            _INFO,
            tried(_INFO, "ArtifactNotFound", "return ModelInfo(id=model_id, name=model_id)"),
        ),
    ),
    mutant(
        "model-arrives",
        "download_model answers the folder above.",
        edit("connector.py", _HOME, _HOME.replace("return await", "await") + "        return destination.parent\n"),
    ),
    mutant(
        "full-model-folder-is-left-alone",
        "What stands where the model shall go makes room.",
        edit("connector.py", _HOME, body("import shutil", "shutil.rmtree(destination, ignore_errors=True)") + _HOME),
    ),
    mutant(
        "torn-model-is-no-folder",
        "The checksum is ignored.",
        edit("api.py", _PLACE + _DOWNLOAD, _PLACE + _DOWNLOAD.replace(" sha256=file.sha256,", "")),
    ),
    mutant(
        "model-names-stay-in-the-folder",
        "Names are taken as they come, and asked for as they are.",
        edit(
            "api.py",
            _READ,
            _ITEMS
            + body("from types import SimpleNamespace", "return [SimpleNamespace(**item) async for item in items]"),
        ),
        edit("api.py", _PLACE, _PLACE.replace('*file.name.split("/")', "file.name")),
    ),
    mutant(
        "upload-memory-is-bounded",
        "Files are read whole for their checksum.",
        edit("files.py", 'hashlib.file_digest(content, "sha256")', "hashlib.sha256(content.read())"),
    ),
    mutant(
        "failed-upload-is-an-error",
        "A file that could not be uploaded is left to the platform to miss.",
        edit(
            "connector.py",
            _UPLOAD,
            tried(_UPLOAD, "ConnectionFailed", "continue"),
        ),
    ),
)
