"""Connectors that are wrong about themselves."""

from __future__ import annotations

from mutants import edit, mutant, without

_LONG = "Jobs, endpoints, models and runs on Acme, the friendly cloud for adapters of every size, " * 2
_NAME = '    name = "acme"\n'

MUTANTS = (
    mutant(
        "name-is-a-slug",
        "The name has an underscore, as Python likes it and nobody types it.",
        edit("connector.py", _NAME, '    name = "acme_cloud"\n'),
        edit("connector.json", '"name": "acme"', '"name": "acme_cloud"'),
        edit("pyproject.toml", 'acme = "peft_studio_acme.plugin"', 'acme_cloud = "peft_studio_acme.plugin"'),
        edit("pyproject.toml", 'acme = "peft_studio_acme.sandbox', 'acme_cloud = "peft_studio_acme.sandbox'),
    ),
    mutant(
        "texts-are-single-lines",
        "The description is a whole paragraph.",
        edit("connector.py", '    description = "', f'    description = "{_LONG}'),
        edit("connector.json", '"description": "Jobs', f'"description": "{_LONG}Jobs'),
    ),
    mutant(
        "version-can-be-compared",
        "The version is a word.",
        edit("connector.py", "    version = __version__\n", '    version = "latest"\n'),
    ),
    mutant(
        "structure-is-whole",
        "The arguments of log_metrics come in another order.",
        edit(
            "connector.py",
            "metrics: Mapping[str, float], step: int) -> None",
            "step: int, metrics: Mapping[str, float]) -> None",
        ),
        also={"secret-is-not-in-the-ledger": "a class whose structure is wrong is not given to a manager"},
    ),
    mutant(
        "flags-keep-their-word",
        "Inference is declared before there is a method for it.",
        edit("connector.py", _NAME, f"{_NAME}    supports_inference = True\n"),
        edit("connector.json", '"inference": false', '"inference": true'),
        features=("training",),
        ruins="whatever is declared is asked for",
    ),
    mutant(
        "class-says-what-it-is",
        "The class has no docstring.",
        edit("connector.py", '    """Jobs, endpoints, models and runs on Acme."""\n', ""),
    ),
    mutant(
        "making-one-does-nothing",
        "An instance wants an event loop when it is made.",
        edit(
            "connector.py",
            "    def __init__(self) -> None:\n",
            "    def __init__(self) -> None:\n        self._loop = asyncio.get_running_loop()\n",
        ),
    ),
    mutant(
        "required-credentials-are-keys",
        "The list of required credentials is one for all callers.",
        edit("connector.py", '        return ["api_key"]\n', "        return REQUIRED\n"),
        edit("connector.py", "#: What the platform knows how to do.\n", 'REQUIRED = ["api_key"]\n\n'),
    ),
    mutant(
        "undeclared-features-are-refused",
        "A search that is planned answers that there is nothing.",
        edit(
            "connector.py",
            "    async def get_job_status(",
            "    async def search_models(self, query: str) -> list[Any]:\n"
            "        return []\n\n"
            "    async def get_job_status(",
        ),
        features=("training",),
    ),
    mutant(
        "level-is-known",
        "The sandbox pins a level that does not exist yet.",
        edit("sandbox.py", '    """The platform that api.py describes."""\n', "    level = 99\n"),
    ),
    mutant(
        "level-is-known",
        "A failure is expected without a reason.",
        edit(
            "sandbox.py",
            '    """The platform that api.py describes."""\n',
            '    expected_failures = {"class-says-what-it-is": "later"}\n',
        ),
        without("connector.py", '    """Jobs, endpoints, models and runs on Acme."""\n'),
    ),
)
