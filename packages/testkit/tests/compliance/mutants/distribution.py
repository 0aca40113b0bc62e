"""Distributions that do not agree with the class in them."""

from __future__ import annotations

from mutants import edit, mutant, without

_PLUGIN = "@hookimpl\ndef peft_studio_connector()"
_NOTHING_INSTALLED = "nothing else can be said of a distribution that is not found"

MUTANTS = (
    mutant(
        "entry-point-is-found",
        "The entry point has another name than the class.",
        edit("pyproject.toml", 'acme = "peft_studio_acme.plugin"', 'acme-cloud = "peft_studio_acme.plugin"'),
        ruins=_NOTHING_INSTALLED,
    ),
    mutant(
        "manifest-is-there",
        "connector.json was left out of the wheel.",
        without("connector.json"),
        ruins="nothing else can be said of a connector.json that is not there",
    ),
    mutant(
        "plugin-delivers-the-class",
        "The plugin delivers a class of an experiment.",
        edit(
            "plugin.py",
            "    return AcmeConnector\n",
            "    class Experiment(AcmeConnector):\n        pass\n\n    return Experiment\n",
        ),
    ),
    mutant(
        "plugin-lists-its-hooks",
        "A hook was added to the plugin and not to connector.json.",
        edit(
            "plugin.py",
            _PLUGIN,
            f"@hookimpl\ndef peft_studio_job_event(connector: object, event: object) -> None:\n    pass\n\n\n{_PLUGIN}",
        ),
    ),
    mutant(
        "manifest-has-the-name",
        "connector.json has the display name as its name.",
        edit("connector.json", '"name": "acme"', '"name": "Acme"'),
    ),
    mutant(
        "manifest-has-the-texts",
        "The display name was changed in one place.",
        edit("connector.json", '"display_name": "Acme"', '"display_name": "Acme Cloud"'),
    ),
    mutant(
        "manifest-has-the-features",
        "connector.json does not know of the registry.",
        edit("connector.json", '"registry": true', '"registry": false'),
    ),
    mutant(
        "manifest-has-the-credentials",
        "connector.json calls the key optional, and connect does not.",
        edit("connector.json", '"key": "api_key",', '"key": "api_key", "required": false,'),
    ),
    mutant(
        "manifest-knows-every-credential",
        "The setting has another key in connector.json than connect reads.",
        edit("connector.json", '"key": "base_url"', '"key": "address"'),
    ),
    mutant(
        "manifest-marks-secrets",
        "connector.json does not call the key secret.",
        edit("connector.json", '"key": "api_key",', '"key": "api_key", "secret": false,'),
    ),
    mutant(
        "credentials-have-variables",
        "The variable of the key is written in small letters.",
        edit("connector.json", '"ACME_API_KEY"', '"acme_api_key"'),
    ),
    mutant(
        "credentials-are-explained",
        "Nobody is told where to get a key.",
        without("connector.json", '"description": "from the account page of Acme",'),
    ),
    mutant(
        "documentation-is-named",
        "connector.json leads to no documentation.",
        without("connector.json", '"documentation_url": "https://acme.example/docs",'),
    ),
    mutant(
        "hosts-are-named",
        "The host is written as an address.",
        edit("connector.json", '["api.acme.example"]', '["https://api.acme.example"]'),
    ),
    mutant(
        "hosts-are-named",
        "The hosts are left out.",
        edit("connector.json", '["api.acme.example"]', "[]"),
    ),
    mutant(
        "interface-version-is-current",
        "connector.json was written for an interface that does not exist.",
        edit("connector.json", '"api_version": 0', '"api_version": 7'),
    ),
    mutant(
        "core-is-bounded",
        "The next major version of core is taken to be like this one.",
        edit("pyproject.toml", '"peft-studio[http]>=0.1,<1"', '"peft-studio[http]>=0.1"'),
    ),
    mutant(
        "core-is-bounded",
        "Any older core will do.",
        edit("pyproject.toml", '"peft-studio[http]>=0.1,<1"', '"peft-studio[http]<1"'),
    ),
    mutant(
        "core-is-bounded",
        "Core is not required at all.",
        without("pyproject.toml", '    "peft-studio[http]>=0.1,<1",\n'),
    ),
    mutant(
        "nothing-is-pinned",
        "A requirement is pinned, as in an application.",
        edit("pyproject.toml", '"attrs>=24.2"', '"attrs==25.4.0"'),
    ),
    mutant("types-are-shipped", "py.typed is missing.", without("py.typed")),
    mutant(
        "versions-agree",
        "The class keeps a version of its own, and was forgotten.",
        edit("connector.py", "    version = __version__\n", '    version = "0.0.9"\n'),
    ),
    mutant(
        "licence-is-named",
        "The metadata name no licence.",
        without("pyproject.toml", 'license = "Apache-2.0"\n'),
    ),
    mutant(
        "index-can-find-it",
        "The keyword by which connectors are found is missing.",
        without("pyproject.toml", ', "peft-studio-connector"'),
    ),
    mutant(
        "sandbox-is-delivered",
        "The sandbox stays at home.",
        without("pyproject.toml", 'acme = "peft_studio_acme.sandbox:AcmeSandbox"\n'),
    ),
)
