"""How much memory one call of a connector takes, measured in a process of its own: the sandbox has its share too."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from peft_studio_testkit.compliance.check import CheckFailed
from peft_studio_testkit.compliance.subject import Subject

#: Runs in the process. The peak so far, which the imports and the connection made, is what the growth counts from.
#: On Linux getrusage would count from the peak of the process that started this one, which may be far above all of it.
_MEASURE = """
import asyncio, importlib, json, resource, sys
from pathlib import Path
task = json.load(sys.stdin)
sys.path[:0] = task["path"]
connector = importlib.import_module(task["module"])
for name in task["class"].split("."):
    connector = getattr(connector, name)
arguments = {key: Path(value) if key == "destination" else value for key, value in task["arguments"].items()}
def peak():
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
async def main():
    instance = connector()
    await instance.connect(task["credentials"])
    await instance.verify_connection()
    before = peak()
    await getattr(instance, task["method"])(**arguments)
    growth = peak() - before
    await instance.disconnect()
    return growth
print(json.dumps({"growth": asyncio.run(main())}))
"""


async def growth_of(subject: Subject, method: str, **arguments: Any) -> float:
    """Growth of the peak memory during the call, MiB. Fails when the call does."""
    task = {
        "path": list(subject.path or ()),
        "module": subject.connector.__module__,
        "class": subject.connector.__qualname__,
        "credentials": dict(subject.sandbox.credentials()),
        "method": method,
        "arguments": arguments,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _MEASURE, env={**os.environ},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate(json.dumps(task, default=str).encode())
    if process.returncode != 0:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise CheckFailed(f"{method} in a process of its own failed: {' '.join(last)}")
    return float(json.loads(output.splitlines()[-1])["growth"]) / 2**20
