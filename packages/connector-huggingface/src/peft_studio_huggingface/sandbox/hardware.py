"""The machines on which Jobs run, with their prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from attrs import field, frozen


@frozen
class Hardware:
    """One flavour."""

    name: str
    pretty_name: str
    cpu: str
    memory: str
    disk: str
    #: USD.
    hourly: Decimal = field(converter=Decimal)
    #: Model, how many, and the memory of all of them.
    accelerator: tuple[str, int, str] | None = None

    def document(self) -> dict[str, Any]:
        """As the Hub describes it."""
        micro = int((self.hourly * 1_000_000 / 60).to_integral_value())
        return {
            "name": self.name,
            "prettyName": self.pretty_name,
            "cpu": self.cpu,
            "ram": self.memory,
            "ephemeralStorage": self.disk,
            "accelerator": None if self.accelerator is None else _accelerator(*self.accelerator),
            "unitCostMicroUSD": micro,
            "unitCostUSD": micro / 1_000_000,
            "unitLabel": "minute",
        }


def _accelerator(model: str, count: int, memory: str) -> dict[str, str]:
    return {"type": "gpu", "model": model, "quantity": str(count), "vram": memory, "manufacturer": "Nvidia"}


#: Source: huggingface/hub-docs 242f4a1e, docs/hub/jobs-configuration.md (2026-08-22).
FLAVORS: Final = (
    Hardware("cpu-basic", "CPU Basic", "2 vCPU", "16 GB", "50 GB", "0.01", None),
    Hardware("cpu-upgrade", "CPU Upgrade", "8 vCPU", "32 GB", "50 GB", "0.03", None),
    Hardware("cpu-performance", "CPU Performance", "32 vCPU", "256 GB", "1024 GB", "1.90", None),
    Hardware("cpu-xl", "CPU XL", "16 vCPU", "124 GB", "1000 GB", "1.00", None),
    Hardware("t4-small", "Nvidia T4 - small", "4 vCPU", "15 GB", "50 GB", "0.40", ("T4", 1, "16 GB")),
    Hardware("t4-medium", "Nvidia T4 - medium", "8 vCPU", "30 GB", "100 GB", "0.60", ("T4", 1, "16 GB")),
    Hardware("a10g-small", "Nvidia A10G - small", "4 vCPU", "15 GB", "110 GB", "1.00", ("A10G", 1, "24 GB")),
    Hardware("a10g-large", "Nvidia A10G - large", "12 vCPU", "46 GB", "200 GB", "1.50", ("A10G", 1, "24 GB")),
    Hardware("a10g-largex2", "2x Nvidia A10G - large", "24 vCPU", "92 GB", "1000 GB", "3.00", ("A10G", 2, "48 GB")),
    Hardware("a10g-largex4", "4x Nvidia A10G - large", "48 vCPU", "184 GB", "2000 GB", "5.00", ("A10G", 4, "96 GB")),
    Hardware("a100-large", "Nvidia A100 - large", "12 vCPU", "142 GB", "1000 GB", "2.50", ("A100", 1, "80 GB")),
    Hardware("a100x4", "4x Nvidia A100", "48 vCPU", "568 GB", "4000 GB", "10.00", ("A100", 4, "320 GB")),
    Hardware("a100x8", "8x Nvidia A100", "96 vCPU", "1136 GB", "8000 GB", "20.00", ("A100", 8, "640 GB")),
    Hardware("h200", "Nvidia H200", "23 vCPU", "256 GB", "3000 GB", "5.00", ("H200", 1, "141 GB")),
    Hardware("h200x2", "Nvidia H200", "46 vCPU", "512 GB", "6000 GB", "10.00", ("H200", 2, "282 GB")),
    Hardware("h200x4", "Nvidia H200", "92 vCPU", "1024 GB", "12000 GB", "20.00", ("H200", 4, "564 GB")),
    Hardware("h200x8", "Nvidia H200", "184 vCPU", "2048 GB", "24000 GB", "40.00", ("H200", 8, "1128 GB")),
    Hardware(
        "rtx-pro-6000", "Nvidia RTX PRO 6000", "23 vCPU", "256 GB", "475 GB", "2.75", ("RTX PRO 6000", 1, "96 GB")
    ),
    Hardware(
        "rtx-pro-6000x2", "Nvidia RTX PRO 6000", "46 vCPU", "512 GB", "950 GB", "5.50", ("RTX PRO 6000", 2, "192 GB")
    ),
    Hardware(
        "rtx-pro-6000x4", "Nvidia RTX PRO 6000", "92 vCPU", "1024 GB", "1900 GB", "11.00", ("RTX PRO 6000", 4, "384 GB")
    ),
    Hardware(
        "rtx-pro-6000x8",
        "Nvidia RTX PRO 6000",
        "184 vCPU",
        "2048 GB",
        "3800 GB",
        "22.00",
        ("RTX PRO 6000", 8, "768 GB"),
    ),
    Hardware("l4x1", "1x Nvidia L4", "8 vCPU", "30 GB", "400 GB", "0.80", ("L4", 1, "24 GB")),
    Hardware("l4x4", "4x Nvidia L4", "48 vCPU", "186 GB", "3200 GB", "3.80", ("L4", 4, "96 GB")),
    Hardware("l40sx1", "1x Nvidia L40S", "8 vCPU", "62 GB", "380 GB", "1.80", ("L40S", 1, "48 GB")),
    Hardware("l40sx4", "4x Nvidia L40S", "48 vCPU", "382 GB", "3200 GB", "8.30", ("L40S", 4, "192 GB")),
    Hardware("l40sx8", "8x Nvidia L40S", "192 vCPU", "1534 GB", "6500 GB", "23.50", ("L40S", 8, "384 GB")),
)
