"""Connectors that are wrong about machines and prices."""

from __future__ import annotations

from mutants import body, edit, mutant, tried

_LIST = "[_resource(machine) for machine in await self._api.machines()]"
_MACHINE = "        machine = await self._api.machine(resource_id)\n"

MUTANTS = (
    mutant(
        "resources-are-resources",
        "Machines are passed on in a class of their own.",
        edit(
            "connector.py",
            f"        return {_LIST}\n",
            body(
                "from types import SimpleNamespace",
                "import attrs",
                f"return [SimpleNamespace(**attrs.asdict(each)) for each in {_LIST}]",
            ),
        ),
    ),
    mutant(
        "resource-ids-are-unique",
        "A machine is listed once for each region.",
        edit("connector.py", f"        return {_LIST}\n", f"        return 2 * {_LIST}\n"),
    ),
    mutant(
        "memory-is-in-gib",
        "The memory of a GPU is in MiB, as nvidia-smi tells it.",
        edit(
            "connector.py", "vram_gb=machine.gpu_memory,", "vram_gb=machine.gpu_memory and machine.gpu_memory * 1024,"
        ),
    ),
    mutant(
        "memory-is-in-gib",
        "Memory that is not known is 0.",
        edit("connector.py", "ram_gb=machine.memory,", "ram_gb=machine.memory or 0,"),
    ),
    mutant(
        "gpus-are-counted",
        "Nobody counts the GPUs.",
        edit("connector.py", "        gpu_count=machine.gpu_count,\n", ""),
    ),
    mutant(
        "every-resource-has-a-price",
        "Machines without a GPU have no price.",
        edit(
            "connector.py",
            _MACHINE,
            f'{_MACHINE}        if not machine.gpu:\n            raise PlatformError("it has no price")\n',
        ),
    ),
    mutant(
        "prices-are-decimals",
        "A price that is missing is not a number.",
        edit(
            "connector.py",
            "hourly_rate=machine.hourly_price,",
            'hourly_rate=machine.hourly_price if machine.gpu else "NaN",',
        ),
    ),
    mutant(
        "prices-are-decimals",
        "The currency is a sign.",
        edit("connector.py", "currency=machine.currency,", 'currency="$",'),
    ),
    mutant(
        "billing-is-in-seconds",
        "The billing increment is in minutes.",
        edit(
            "connector.py",
            "billing_increment=machine.billed_seconds,",
            "billing_increment=machine.billed_seconds / 60,",
        ),
    ),
    mutant(
        "billing-is-in-seconds",
        "Nobody knows in which time zone the price was read.",
        edit("connector.py", "as_of=datetime.now(UTC),", "as_of=datetime.now(),"),
    ),
    mutant(
        "unknown-resource-has-no-price",
        "A machine that does not exist is free.",
        edit(
            "connector.py",
            _MACHINE,
            tried(_MACHINE, "PlatformError", 'return PricingInfo(resource_id=resource_id, hourly_rate="0")'),
        ),
    ),
)
