"""RunPod in the words of PEFT Studio: rent a GPU pod for a job, and let nothing cost money that nobody uses.

`RentedMachineConnector` has the life of the job; here stands what is RunPod's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any, ClassVar, Final

from peft_studio import (
    CapacityError,
    ConnectionFailed,
    InsufficientCreditsError,
    InvalidCredentials,
    JobNotFound,
    Observed,
    PeftStudioError,
    PlatformError,
    PricingInfo,
    Rental,
    Resource,
    TrainingConfig,
)
from peft_studio.rented import Launch, Limits, Machine, MachineState, Offer, RentedMachineConnector, hub_variables
from peft_studio_runpod import __version__
from peft_studio_runpod.api import Account, RunpodApi, explained, is_forbidden
from peft_studio_runpod.catalogue import REMEDY, cheapest_first, named, offers_for
from peft_studio_runpod.pod_log import PodLog
from peft_studio_runpod.pods import STATES, create_body, teardown_steps
from peft_studio_runpod.settings import Settings

_UNLOCK: Final = "unlock the pod on RunPod's page, then try again"
_NOT_OPEN: Final = "this GPU is not open to the account, or the key may only read"
_WAIT: Final = "try again later, or end the pod and submit the job anew: its checkpoints are on its host alone"
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_GOING: Final = (MachineState.STARTING, MachineState.RUNNING)
_STANDING: Final = (MachineState.STOPPED,)


class RunpodConnector(RentedMachineConnector):
    """Jobs on pods of RunPod."""

    name: ClassVar[str] = "runpod"
    display_name: ClassVar[str] = "RunPod"
    description: ClassVar[str] = "Fine-tunes on GPU pods that are rented from RunPod for each job"
    version: ClassVar[str] = __version__
    label: ClassVar[str | None] = "runpod"

    def __init__(self) -> None:
        self._connection: RunpodApi | None = None
        self._key = ""
        self._settings = Settings()

    async def connect(self, credentials: Mapping[str, str]) -> bool:
        """Ask for the pods, which tells whether the key is good; only then is an older connection replaced."""
        key = credentials.get("api_key")
        if not key:
            raise InvalidCredentials("there is no api_key", remedy="set RUNPOD_API_KEY")
        settings = Settings.of(credentials)
        api = RunpodApi(key, settings)
        try:
            await api.verify()
        except BaseException:
            await api.close()
            raise
        previous, self._connection = self._connection, api
        self._key, self._settings = key, settings
        if previous is not None:
            await previous.close()
        return True

    async def disconnect(self) -> bool:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        return True

    async def verify_connection(self) -> bool:
        try:
            await self._api.verify()
        except (ConnectionFailed, InvalidCredentials):
            return False
        return True

    def get_required_credentials(self) -> list[str]:
        return ["api_key"]

    @property
    def observed(self) -> Observed | None:
        return None if self._connection is None else self._connection.observed

    @property
    def account_secret(self) -> str:
        return self._key

    @property
    def limits(self) -> Limits:
        return self._settings.limits

    @property
    def _api(self) -> RunpodApi:
        if self._connection is None:
            raise ConnectionFailed("not connected to RunPod", remedy="call connect first")
        return self._connection

    # What is on offer.

    async def list_resources(self) -> list[Resource]:
        return [gpu.resource(self._settings) for gpu in cheapest_first(await self._api.gpus_in_stock())]

    async def get_pricing(self, resource_id: str) -> PricingInfo:
        """Of a pod with its storage; where several machines may be meant, what it costs at most."""
        found = named(await self._api.gpus(), resource_id, self._settings)
        return cheapest_first(found)[-1].pricing(self._settings)

    async def list_offers(self, config: TrainingConfig) -> Sequence[Offer]:
        return offers_for(await self._api.gpus_in_stock(), config.resource_id, self._settings)

    # Pods as machines.

    async def submit_job(self, config: TrainingConfig) -> str:
        try:
            return await super().submit_job(config)
        except CapacityError as error:
            error.remedy = error.remedy or REMEDY
            raise

    async def rent(self, offer: Offer, launch: Launch) -> Machine:
        """POST /v2/pods, once. A 400 is a rule or the stock, a 403 the GPU or the key: another offer may be fine."""
        try:
            pod = await self._api.create(create_body(offer, launch, self._settings))
        except InvalidCredentials as error:
            if is_forbidden(error):
                raise _no_capacity(error, f"{error.why} ({_NOT_OPEN})") from None
            raise explained(error) from None
        except InsufficientCreditsError as error:
            error.remedy = await self._balance()
            raise
        except PlatformError as error:
            if error.http_status == HTTPStatus.BAD_REQUEST:
                raise _no_capacity(error, error.why) from None
            raise
        return pod.machine(self._settings, MachineState.STARTING)  # it is there, whatever RunPod calls that

    async def find_job(self, tag: str) -> str | None:
        """The oldest pod with that tag; what state any of them is in does not matter here."""
        found = [pod for pod in await self._api.pods() if pod.tag == tag]
        return min(found, key=lambda pod: pod.created or _NEVER).id if found else None

    async def get_machine(self, id: str) -> Machine:
        return (await self._api.pod(id)).machine(self._settings)

    async def list_machines(self) -> list[Machine]:
        return [pod.machine(self._settings) for pod in await self._api.pods()]

    async def end_machine(self, id: str) -> None:
        try:
            await self._api.delete(id)
        except PlatformError as error:
            error.remedy = _UNLOCK if _is_locked(error) else error.remedy
            raise

    async def stop_machine(self, id: str) -> None:
        try:
            await self._api.act(id, "stop")
        except PlatformError as error:
            if not await self._is_so(id, error, is_running=False):
                error.remedy = _UNLOCK if _is_locked(error) else error.remedy
                raise

    async def start_machine(self, id: str) -> None:
        """A pod stays with its host: when its GPUs are taken RunPod refuses, or starts it without any."""
        try:
            pod = await self._api.act(id, "start")
        except InsufficientCreditsError as error:
            error.remedy = await self._balance()
            raise
        except PlatformError as error:
            if error.http_status == HTTPStatus.BAD_REQUEST and not _is_locked(error):
                raise _no_capacity(error, error.why) from None
            if not await self._is_so(id, error, is_running=True):
                raise
            return
        if pod.gpu_count == 0:
            await self.stop_machine(id)
            raise CapacityError(f"pod {id} came back without its GPUs, and was stopped again", remedy=_WAIT)

    def boot_log(self, id: str) -> AsyncGenerator[str]:
        return PodLog(self._api, id).lines()

    def teardown_steps(self) -> Sequence[Mapping[str, Any]]:
        return teardown_steps(self._settings)

    def worker_variables(self, config: TrainingConfig) -> Mapping[str, str]:
        """What the user chose for the worker."""
        settings = self._settings
        install = settings.worker_install
        chosen = {"PEFT_STUDIO_WORKER_INSTALL": install} if install else {}
        return {**chosen, **hub_variables(config, settings.push_to, settings.hf_token)}

    # What lives on the account.

    async def list_rentals(self) -> list[Rental]:
        """Pods, and network volumes unless the key may not see those."""
        pods = [pod.rental for pod in await self._api.pods()]
        try:
            return pods + await self._api.volumes()
        except InvalidCredentials as error:
            if not is_forbidden(error):
                raise
            return pods

    async def end_rental(self, rental_id: str) -> bool:
        """Only what is on the list is ended, as what it is; then the list is asked again."""
        kinds = {rental.id: rental.kind for rental in await self.list_rentals()}
        if kinds.get(rental_id) == "storage":
            await self._api.delete_volume(rental_id)
        elif rental_id in kinds:
            await self.end_machine(rental_id)
        return rental_id not in {rental.id for rental in await self.list_rentals()}

    async def account(self) -> Account:
        """Balance and spending, which only GraphQL tells."""
        return await self._api.account()

    async def get_job_cost(self, job_id: str) -> Decimal | None:
        """What the pod has cost, US dollars: its price since its creation, or RunPod's bill when that is higher.

        Bills come late, and are all that is left of a pod that is gone. A time for which it was stopped counts as if it
        had always been as it is now, unless the bill says more.
        """
        billed = await self._api.billed(job_id)
        try:
            pod = await self._api.pod(job_id)
        except JobNotFound:
            if not billed:
                raise
            return billed
        if pod.created is None or pod.hourly_rate is None:
            return billed
        hours = Decimal((datetime.now(UTC) - pod.created).total_seconds()) / 3600
        return max(billed, pod.hourly_rate * hours)

    async def _is_so(self, id: str, error: PlatformError, *, is_running: bool) -> bool:
        """True when the action was refused because nothing is left to do."""
        if error.http_status != HTTPStatus.CONFLICT:
            return False
        state = STATES.get((await self._api.pod(id)).status)
        return state in (_GOING if is_running else _STANDING)

    async def _balance(self) -> str:
        """What to do, with the balance where it is told: it only helps to understand."""
        remedy = "add credit on RunPod's page"
        try:
            balance = (await self._api.account()).balance
        except PeftStudioError:
            return remedy
        return remedy if balance is None else f"{remedy}: the balance is {balance:.2f} USD"


def _is_locked(error: PlatformError) -> bool:
    return error.http_status == HTTPStatus.BAD_REQUEST and "locked" in (error.why or "").lower()


def _no_capacity(error: PeftStudioError, why: str | None) -> CapacityError:
    refused = CapacityError(error.what, why=why, connector=error.connector)
    refused.http_status, refused.observed = error.http_status, error.observed
    return refused
