"""The Hugging Face Hub in the words of PEFT Studio: models and adapters, trained, published, found and served."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from peft_studio import (
    ConnectionFailed,
    IncompleteList,
    InvalidCredentials,
    ModelInfo,
    Observed,
    RateLimitError,
    RegistryConnector,
    Rental,
)
from peft_studio_huggingface import __version__
from peft_studio_huggingface.api import Account, HubApi
from peft_studio_huggingface.downloading import bring_home
from peft_studio_huggingface.rented_jobs import JobsOfHub
from peft_studio_huggingface.repository import RepositoryId
from peft_studio_huggingface.serving import EndpointsOfHub
from peft_studio_huggingface.settings import Settings
from peft_studio_huggingface.uploading import Upload

#: Words of a query that are no words to search for: `author:acme`, `tag:lora`.
_FILTER: Final = re.compile(r"(author|tag):(\S+)")


class HuggingFaceConnector(JobsOfHub, EndpointsOfHub, RegistryConnector):
    """Repositories of models on the Hub, trainings on its Jobs, and models on its Inference Endpoints."""

    name: ClassVar[str] = "huggingface"
    display_name: ClassVar[str] = "Hugging Face"
    description: ClassVar[str] = "Keeps models on the Hugging Face Hub, fine-tunes on its Jobs, serves on Endpoints"
    version: ClassVar[str] = __version__
    label: ClassVar[str | None] = "huggingface"

    def __init__(self) -> None:
        self._connection: HubApi | None = None
        self._account: Account | None = None
        self._token = ""
        self._settings = Settings()

    async def connect(self, credentials: Mapping[str, str]) -> bool:
        """Ask whose token it is; only then is an older connection replaced."""
        token = (credentials.get("token") or "").strip()
        if not token:
            raise InvalidCredentials("there is no token", remedy="set HF_TOKEN, or log in with: hf auth login")
        api = HubApi(token, Settings.of(credentials))
        try:
            account = await api.whoami()
        except BaseException:
            await api.close()
            raise
        previous, self._connection = self._connection, api
        await self._close_inference()
        self._account, self._token, self._settings = account, token, api.settings
        self._jobs_api = api.jobs(api.settings.namespace or account.name, account)
        self._open_inference(token, api.settings, account.name)
        if previous is not None:
            await previous.close()
        return True

    async def disconnect(self) -> bool:
        connection, self._connection, self._jobs_api = self._connection, None, None
        await self._close_inference()
        if connection is not None:
            await connection.close()
        return True

    async def verify_connection(self) -> bool:
        try:
            await self._api.whoami()
        except (ConnectionFailed, InvalidCredentials):
            return False
        return True

    def get_required_credentials(self) -> list[str]:
        return ["token"]

    @property
    def observed(self) -> Observed | None:
        return None if self._connection is None else self._connection.observed

    async def account(self) -> Account:
        """Whose token it is, and its scopes, as the Hub said when the connector connected."""
        if self._account is None or self._connection is None:
            raise _not_connected()
        return self._account

    @property
    def _api(self) -> HubApi:
        if self._connection is None:
            raise _not_connected()
        return self._connection

    # What lives on the account.

    async def list_rentals(self) -> list[Rental]:
        """Jobs that wait or run, and every endpoint; one that rests costs nothing.

        Raises `IncompleteList` with the jobs while the API of endpoints cannot be asked.
        """
        jobs = await super().list_rentals()
        try:
            return [*jobs, *await self._endpoint_rentals()]
        except (ConnectionFailed, RateLimitError) as error:
            what, remedy = "Inference Endpoints could not be listed", "if you have none, set endpoints_url to off"
            raise IncompleteList(what, found=jobs, why=str(error), remedy=remedy) from error

    async def end_rental(self, rental_id: str) -> bool:
        """Ids of endpoints have a slash, those of jobs have none."""
        return await (self.stop_deployment(rental_id) if "/" in rental_id else super().end_rental(rental_id))

    # Registry.

    async def upload_artifact(self, path: str, metadata: Mapping[str, Any]) -> str:
        """Publish an adapter folder, or one file, as `repo_id` of the metadata; README.md says what else they hold."""
        return await Upload(self._api, await self.account(), self._token).run(Path(path), metadata)

    async def search_models(self, query: str, limit: int | None = None) -> list[ModelInfo]:
        """By words of their ids, and `author:acme` and `tag:lora`; the most downloaded first."""
        api = self._api
        most = api.settings.search_limit
        filters = _FILTER.findall(query)
        asked = {
            "search": " ".join(_FILTER.sub(" ", query).split()) or None,
            "author": next((value for kind, value in filters if kind == "author"), None),
            "filter": [value for kind, value in filters if kind == "tag"] or None,
        }
        models = await api.models(asked, most if limit is None else min(limit, most))
        return [model.info(api.settings.base_url) for model in models]

    async def get_model_metadata(self, model_id: str) -> ModelInfo:
        """Of `owner/name`, or of `owner/name@revision`."""
        api = self._api
        return (await api.model(RepositoryId.of(model_id))).info(api.settings.base_url)

    async def download_model(self, model_id: str, destination: Path) -> Path:
        """The files of `owner/name` or `owner/name@revision`, verified; weights in safetensors alone unless set so."""
        return await bring_home(self._api, RepositoryId.of(model_id), destination)


def _not_connected() -> ConnectionFailed:
    return ConnectionFailed("not connected to Hugging Face", remedy="call connect first")
