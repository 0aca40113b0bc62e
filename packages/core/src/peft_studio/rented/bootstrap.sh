#!/bin/sh
# The start command of a rented machine: install the worker, serve, and never end by itself.
#
# A platform starts a container again whose command has ended, for ever and for money. So whatever fails here is said on
# stderr, then the machine tears itself down, and then this script sleeps. Every parameter comes from the environment:
#
#   PEFT_STUDIO_WORKER_VERSION   version to install, unless it is installed already
#   PEFT_STUDIO_WORKER_INSTALL   what to give to pip instead, such as the address of a wheel; words are split at spaces
#   PEFT_STUDIO_WORKER_VENV      folder for a virtual environment (/opt/peft-studio-worker, or one in the home)
#   PEFT_STUDIO_WORKER_BOOT      seconds that the installation may take (1800), within the limits of time and money
#   PEFT_STUDIO_WORKER_LATE      seconds after DEADLINE at which a worker that hangs is not waited for any longer (900)
#   PEFT_STUDIO_WORKER_TEARDOWN, PEFT_STUDIO_WORKER_RETRY, and all others: see `peft-studio-worker serve`

set -u

say() { printf 'peft-studio-worker bootstrap: %s\n' "$*" >&2; }

version=${PEFT_STUDIO_WORKER_VERSION:-}
if [ -n "${PEFT_STUDIO_WORKER_VENV:-}" ]; then venv=$PEFT_STUDIO_WORKER_VENV
elif [ -w /opt ]; then venv=/opt/peft-studio-worker
else venv=${HOME:-/tmp}/.peft-studio-worker-venv
fi
worker=
child=
guard=

# The platform stops the machine: pass that on, so that the job writes a checkpoint, and end then. Whatever else runs has
# nothing to lose, and would not hear a TERM that comes between its fork and its exec.
stopped() {
    say "the machine goes down"
    for each in $guard $child; do kill -KILL "$each" 2>/dev/null; done
    if [ -n "$worker" ]; then kill -TERM "$worker" 2>/dev/null; wait "$worker"; fi
    exit 143
}
trap stopped TERM INT

outlived() {
    guard=
    kill -KILL "$worker" 2>/dev/null
    worker=
    give_up "the worker has not ended the machine in time"
}
trap outlived USR1

# Sleep in a way that a signal can interrupt.
doze() { sleep "$1" & child=$!; wait "$child"; child=; }

find_python() {
    for python in "$venv/bin/python" python3 python; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then return 0; fi
    done
    python=
    return 1
}

is_installed() {
    "$1" -c '
import os, importlib.metadata as metadata, importlib.util as util, sys
try:
    found = metadata.version("peft-studio-worker")
except metadata.PackageNotFoundError:
    sys.exit(1)
wanted = os.environ.get("PEFT_STUDIO_WORKER_VERSION")
parts = ("peft_studio_worker", "uvicorn", "starlette", "torch", "transformers", "peft")
sys.exit((wanted or found) != found or not all(map(util.find_spec, parts)))
' 2>/dev/null
}

# What hangs must not be paid for until somebody looks: the installation, or this script for the worker, gets a signal
# when its time is over. What cannot be read of the limits is left to the worker, which refuses it.
guard() {
    "$python" - "$@" <<'PYTHON' &
import math, os, signal, sys, time
from datetime import datetime

def number(name):
    try:
        value = float(os.environ.get("PEFT_STUDIO_WORKER_" + name, ""))
    except ValueError:
        return math.inf
    return value if value >= 0 else math.inf

try:
    age = time.time() - datetime.fromisoformat(os.environ.get("PEFT_STUDIO_WORKER_CREATED", "")).timestamp()
except ValueError:
    age = 0.0
rate = number("HOURLY_RATE")
paid = number("MAX_COST") / rate * 3600 if 0 < rate < math.inf else math.inf
boot, late = number("BOOT"), number("LATE")
what, pid, name = sys.argv[1:]
if what == "installation":
    patience = max(0.0, min(boot if boot < math.inf else 1800.0, min(number("DEADLINE"), paid) - max(0.0, age)))
else:  # it keeps the limits itself, and knows better since when they count
    patience = number("DEADLINE") + (late if late < math.inf else 900.0)
if patience == math.inf:
    sys.exit()
time.sleep(patience)
print(f"peft-studio-worker bootstrap: the {what} is not done after {patience:.0f} s", file=sys.stderr, flush=True)
os.kill(int(pid), signal.Signals[name])
PYTHON
    guard=$!
}

# Into an environment of its own, which sees the torch of the image and is spared the protection of the system Python.
install_worker() {
    if [ -z "$version" ] && [ -z "${PEFT_STUDIO_WORKER_INSTALL:-}" ]; then
        say "PEFT_STUDIO_WORKER_VERSION is missing"
        return 1
    fi
    # An image whose torch lies in a virtual environment itself: another one would not see it.
    if "$python" -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)'; then
        say "installing into the image's own virtual environment"
    elif [ ! -x "$venv/bin/python" ]; then
        "$python" -m venv --system-site-packages "$venv" >&2 || {
            say "this Python makes no virtual environments: installing into it"
            set -- --break-system-packages
            rm -rf "$venv"
        }
    fi
    [ ! -x "$venv/bin/python" ] || python=$venv/bin/python
    "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >&2
    if [ -n "${PEFT_STUDIO_WORKER_INSTALL:-}" ]; then
        set -f
        # shellcheck disable=SC2086  # several words are several requirements
        set -- "$@" $PEFT_STUDIO_WORKER_INSTALL
        set +f
    else
        set -- "$@" "peft-studio-worker[train,serve]==$version"
    fi
    # Neither pip nor what it starts has any use for the secrets of the machine.
    env -u PEFT_STUDIO_WORKER_TOKEN -u PEFT_STUDIO_WORKER_KEY -u PEFT_STUDIO_WORKER_TEARDOWN \
        "$python" -m pip install --no-input --disable-pip-version-check "$@" >&2 &
    child=$!
    guard installation "$child" SIGKILL
    wait "$child"
    code=$?
    child=
    kill -KILL "$guard" 2>/dev/null
    guard=
    return "$code"
}

# The recipe of the worker, without the worker: exit code 0 when the platform has accepted.
tear_down_once() {
    "$python" - <<'PYTHON'
import json, os, re, sys, urllib.error, urllib.request

def filled(value):
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", lambda name: os.environ.get(name[1], ""), value)
    if isinstance(value, dict):
        return {filled(key): filled(each) for key, each in value.items()}
    return [filled(each) for each in value] if isinstance(value, list) else value

class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None

def status_of(step):
    body = None if step.get("json") is None else json.dumps(filled(step["json"])).encode()
    agent = "peft-studio-worker/" + (os.environ.get("PEFT_STUDIO_WORKER_VERSION") or "bootstrap")
    headers = {"User-Agent": agent, **({"Content-Type": "application/json"} if body else {})}
    headers.update(filled(step.get("headers") or {}))
    request = urllib.request.Request(filled(step["url"]), body, headers, method=step.get("method", "DELETE"))
    try:
        with urllib.request.build_opener(NoRedirects).open(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

for number, step in enumerate(json.loads(os.environ["PEFT_STUDIO_WORKER_TEARDOWN"]), start=1):
    try:
        status = status_of(step)
    except Exception as error:  # what it says may hold a key
        status = type(error).__name__
    if status in step.get("accept", [200, 202, 204, 404]):
        sys.exit(0)
    print(f"peft-studio-worker bootstrap: step {number} of the teardown: {status}", file=sys.stderr)
sys.exit(1)
PYTHON
}

give_up() {
    [ -z "$guard" ] || kill -KILL "$guard" 2>/dev/null
    guard=
    say "$*"
    if [ -z "${PEFT_STUDIO_WORKER_TEARDOWN:-}" ]; then
        say "there is no teardown recipe: the client must end this machine"
    elif [ -z "$python" ]; then
        say "without Python the machine cannot tear itself down: the client must end it"
    else
        say "tearing the machine down"
        until tear_down_once; do doze "${PEFT_STUDIO_WORKER_RETRY:-30}"; done
        say "the platform has accepted the teardown of this machine"
    fi
    while :; do doze 3600; done
}

find_python || give_up "there is no Python 3.11 or later in this image"
if is_installed "$python"; then
    say "the worker is installed already"
else
    say "installing the worker ${version}"
    install_worker || give_up "the worker could not be installed"
fi

# A worker that was killed, by the kernel for its memory or by anybody, finds its job again. It is given three chances.
[ -z "${PEFT_STUDIO_WORKER_DEADLINE:-}" ] || guard worker $$ SIGUSR1
starts=0
while [ "$starts" -lt 3 ]; do
    starts=$((starts + 1))
    "$python" -m peft_studio_worker serve &
    worker=$!
    wait "$worker"
    code=$?
    worker=
    [ "$code" -gt 128 ] || break
    say "the worker was killed (exit code $code)"
done
give_up "the worker ended with exit code $code"
