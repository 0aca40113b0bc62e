"""What the Hub holds, and who may have it: the truth behind all routes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from starlette.requests import Request

from peft_studio_huggingface.sandbox.accounts import OWNER, Accounts, Token
from peft_studio_huggingface.sandbox.attributes import GIT_ATTRIBUTES, is_lfs
from peft_studio_huggingface.sandbox.git import object_id, pointer
from peft_studio_huggingface.sandbox.problems import Refusal, no_repository
from peft_studio_huggingface.sandbox.repositories import File, Gate, Repository
from peft_studio_huggingface.sandbox.store import Store
from peft_studio_testkit.sandbox.clock import Clock

_NAME: Final = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(?<![.-])")


class Hub(Mapping[str, Repository]):
    """Repositories by id, `namespace/name`."""

    def __init__(self, accounts: Accounts, store: Store, clock: Clock) -> None:
        self.accounts = accounts
        self.store = store
        self.clock = clock
        #: False: every file comes into git itself, base64 in the commit; a client that insists on Xet can upload so.
        self.has_lfs = True
        self._repositories: dict[str, Repository] = {}

    def __getitem__(self, id: str) -> Repository:
        return self._repositories[id]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._repositories))

    def __len__(self) -> int:
        return len(self._repositories)

    def clear(self) -> None:
        """Forget everything."""
        self._repositories = {}
        self.has_lfs = True

    # What a test does to it.

    def add(
        self,
        id: str,
        files: Mapping[str, bytes] | None = None,
        *,
        private: bool = False,
        gated: Gate = False,
        downloads: int = 0,
        likes: int = 0,
    ) -> Repository:
        """Seed a repository with files."""
        new = self.create(id, private=private)
        new.gated, new.downloads, new.likes = gated, downloads, likes
        if files:
            self.put(id, files)
        return new

    def put(self, id: str, files: Mapping[str, bytes], title: str = "Seeded") -> str:
        """Commit these files on `main` behind every client's back; gives the commit's id."""
        repository = self[id]
        new = {path: self.file(path, content, is_lfs(path, content, len(content))) for path, content in files.items()}
        whole = {**repository.head.files, **new}
        return repository.commit("main", whole, OWNER, title, "", self.clock.now()).id

    def read(self, id: str, path: str, revision: str = "main") -> bytes:
        """A file's content. Raises `KeyError`."""
        return self.store.path(self[id].revision(revision).files[path].content).read_bytes()

    # What the routes do.

    def create(self, id: str, *, private: bool) -> Repository:
        """An empty repository, in which there is what the Hub itself puts there. Raises `Refusal`."""
        if not all(_NAME.fullmatch(part) for part in id.split("/")) or id.count("/") != 1:
            raise Refusal(400, f"Invalid repo name: {id}")
        new = Repository(id=id, created=self.clock.now(), private=private)
        first = self.file(".gitattributes", GIT_ATTRIBUTES.encode(), lfs=False)
        new.commit("main", {first.path: first}, id.partition("/")[0], "initial commit", "", self.clock.now())
        self._repositories[id] = new
        return new

    def delete(self, id: str) -> None:
        """Forget one."""
        del self._repositories[id]

    def move(self, id: str, new_id: str) -> None:
        """Give one another name."""
        repository = self._repositories.pop(id)
        repository.id = new_id
        self._repositories[new_id] = repository

    def file(self, path: str, content: bytes, lfs: bool) -> File:
        """Keep content, and give the file that has it."""
        name = self.store.add(content, is_lfs=lfs)
        return self.lfs_file(path, name, len(content)) if lfs else File(path, len(content), name)

    def lfs_file(self, path: str, sha256: str, size: int) -> File:
        """A file whose content is in LFS."""
        return File(path, size, object_id("blob", pointer(sha256, size)), sha256)

    def is_visible(self, repository: Repository, token: Token | None) -> bool:
        """True when it may be known that it is there."""
        return not repository.private or (token is not None and token.account.may_read(repository.namespace))

    def readable(self, request: Request) -> Repository:
        """The repository that the path names. Raises `Refusal` when it is missing or hidden."""
        return self.find("{namespace}/{name}".format(**request.path_params), self.accounts.token(request))

    def find(self, id: str, token: Token | None) -> Repository:
        """One that may be seen. Raises `Refusal`."""
        found = self._repositories.get(id)
        if found is None or not self.is_visible(found, token):
            raise no_repository(is_known=token is not None)
        return found

    def with_files(self, request: Request) -> Repository:
        """One whose files may be read. Raises `Refusal`, also for a gate that is closed."""
        found = self.readable(request)
        token = self.accounts.token(request)
        if not found.gated or (token is not None and self._is_let_in(found, token)):
            return found
        visit = f"Visit {request.base_url}{found.id} to ask for access."
        if token is None:
            text = f"Access to model {found.id} is restricted. You must have access to it and be authenticated. {visit}"
            raise Refusal(401, text, "GatedRepo")
        text = f"Access to model {found.id} is restricted and you are not in the authorized list. {visit}"
        raise Refusal(403, text, "GatedRepo")

    def writable(self, request: Request) -> tuple[Repository, Token]:
        """One that may be changed, and who does. Raises `Refusal`."""
        found = self.readable(request)
        return found, self.may_write(request, found.namespace)

    def may_write(self, request: Request, namespace: str) -> Token:
        """Who may change something in that namespace. Raises `Refusal`."""
        token = self.accounts.known(request)
        if not token.account.may_write(namespace):
            raise Refusal(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
        if not token.may("repo.write"):
            raise Refusal(403, "Forbidden: this token has no permission to write to repositories.")
        return token

    def _is_let_in(self, repository: Repository, token: Token) -> bool:
        return token.account.may_read(repository.namespace) or token.account.name in repository.granted
