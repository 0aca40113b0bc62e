"""Run one small program with TorchX's local_cwd scheduler and follow its log. Runs in TorchX's environment."""

from __future__ import annotations

import json
import sys
import time

from stamps import __file__ as program
from stamps import lag
from torchx.runner import get_runner
from torchx.specs import AppDef, Role


def main(count: int) -> dict[str, object]:
    """What a client sees: seconds from the submit call, and the lag of each stamped line."""
    role = Role(name="job", image="", entrypoint=sys.executable, args=["-u", str(program), str(count)])
    with get_runner() as runner:
        started = time.perf_counter()
        handle = runner.run(AppDef(name="stamps", roles=[role]), "local_cwd")
        submitted = time.perf_counter() - started
        first, lags, said = None, [], ""
        for line in runner.log_lines(handle, "job", should_tail=True):
            behind, passed = lag(line), time.perf_counter() - started
            first = passed if first is None else first
            if behind is None:
                said = line
            else:
                lags.append(behind)
        state = runner.status(handle)
    status = "unknown" if state is None else state.state.name
    return {
        "submit": submitted, "first": first, "first_of_process": first, "lags": lags, "status": status,
        "last_words": said,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
