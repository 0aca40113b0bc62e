"""What can be asked about a repository: the model, its files, its history and its references."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_huggingface.sandbox import documents
from peft_studio_huggingface.sandbox.hub import Hub
from peft_studio_huggingface.sandbox.pages import page
from peft_studio_huggingface.sandbox.problems import Refusal


class ReadingRoutes:
    """Under `/api/models/{namespace}/{name}`."""

    def __init__(self, hub: Hub, page_size: Callable[[], int]) -> None:
        self._hub = hub
        self._page_size = page_size

    def routes(self) -> list[Route]:
        """All of them."""
        model = "/api/models/{namespace}/{name}"
        return [
            Route(model, self.show),
            Route(model + "/revision/{revision:path}", self.show),
            Route(model + "/tree/{revision}", self.tree),
            Route(model + "/tree/{revision}/{folder:path}", self.tree),
            Route(model + "/paths-info/{revision:path}", self.paths_info, methods=["POST"]),
            Route(model + "/commits/{revision:path}", self.commits),
            Route(model + "/refs", self.references),
        ]

    async def show(self, request: Request) -> Response:
        """The model at a revision."""
        repository = self._hub.readable(request)
        commit = repository.revision(request.path_params.get("revision", "main"))
        blobs = is_true(request, "blobs")
        return JSONResponse(expanded(request, documents.model(self._hub, repository, commit, blobs=blobs)))

    async def tree(self, request: Request) -> Response:
        """The files below a folder."""
        repository = self._hub.readable(request)
        commit = repository.revision(request.path_params["revision"])
        folder = request.path_params.get("folder", "").strip("/")
        if folder and folder not in commit.trees:
            raise Refusal(404, f"{folder} does not exist on {request.path_params['revision']}", "EntryNotFound")
        entries = documents.tree(
            repository, commit, folder, recursive=is_true(request, "recursive"), expand=is_true(request, "expand")
        )
        return page(request, entries, self._page_size())

    async def paths_info(self, request: Request) -> Response:
        """Some files or folders, by path; what is not there is left out."""
        repository = self._hub.readable(request)
        commit = repository.revision(request.path_params["revision"])
        wanted = parse_qs((await request.body()).decode()).get("paths", [])
        files = [documents.file(commit.files[path]) for path in wanted if path in commit.files]
        folders = [documents.directory(path, commit.trees[path]) for path in wanted if path and path in commit.trees]
        return JSONResponse(files + folders)

    async def commits(self, request: Request) -> Response:
        """The history of a revision, the newest first."""
        repository = self._hub.readable(request)
        history = repository.history(repository.revision(request.path_params["revision"]))
        return page(request, [documents.commit_entry(commit) for commit in history], self._page_size())

    async def references(self, request: Request) -> Response:
        """Branches and tags."""
        repository = self._hub.readable(request)

        def listed(kind: str, references: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": id} for name, id in references.items()]

        branches, tags = listed("heads", repository.branches), listed("tags", repository.tags)
        return JSONResponse({"branches": branches, "tags": tags, "converts": []})


def is_true(request: Request, name: str) -> bool:
    """A switch of the query."""
    return request.query_params.get(name, "").lower() in ("true", "1")


def expanded(request: Request, model: dict[str, object]) -> dict[str, object]:
    """With `expand`, the fields that it names, and no others but the id. Raises `Refusal` for an unknown one."""
    wanted = [name for value in request.query_params.getlist("expand") for name in value.split(",")]
    if not wanted:
        return model
    if unknown := set(wanted) - {*model, "library_name", "pipeline_tag"}:
        raise Refusal(400, f"expand: the sandbox does not have {', '.join(sorted(unknown))}")
    return {name: value for name, value in model.items() if name in {"_id", "id", *wanted}}
