"""The doctor names what is wrong with an environment, where, and what mends it; and imports no plugin for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peft_studio.doctor import QUESTIONS, Diagnosis, examine, forget_vanished
from peft_studio.installers import remedy_to_install
from peft_studio.registry import ConnectorRegistry

ROOT = Path(__file__).parents[4]


def found(site: Any, question: str) -> list[Diagnosis]:
    """What one question brings up."""
    return [diagnosis for diagnosis in examine([site.root]) if question == diagnosis.question]


def only(site: Any, question: str) -> Diagnosis:
    """The one diagnosis that there is, and that it says everything."""
    (diagnosis,) = examine([site.root])
    assert question == diagnosis.question
    assert diagnosis.what
    assert diagnosis.where
    assert diagnosis.remedy
    return diagnosis


def make_editable(installed: Any, folder: Path, pyproject: str) -> Path:
    """Turn an installed plugin into an editable install of a project in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(pyproject)
    text = json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}})
    (installed.metadata / "direct_url.json").write_text(text)
    return folder


def project(installed: Any, version: str = 'version = "1.0.0"', name: str = "acme") -> str:
    """The pyproject.toml that agrees with what is installed, but for what is asked for."""
    entry = f'[project.entry-points."peft_studio.connectors"]\n{name} = "{installed.package}.plugin"\n'
    return f'[project]\nname = "peft-studio-acme"\n{version}\n{entry}'


def test_nothing_is_wrong(site: Any) -> None:
    """A plugin as it should be, with every kind of requirement met."""
    site.add(requires=["peft-studio[http]>=0.1,<1", "attrs>=20", 'nothing; python_version < "3"', "Pluggy"])

    assert [] == examine([site.root])


def test_an_ambiguous_name(site: Any) -> None:
    """Both claimants, and the command that settles it."""
    site.add("acme", version="2.0")
    site.add("acme", distribution="other-acme")
    diagnosis = only(site, "ambiguous")

    assert "acme: the name acme is claimed by other-acme 1.0.0 and peft-studio-acme 2.0" == diagnosis.what
    assert f"other-acme 1.0.0 in {site.root}, peft-studio-acme 2.0 in {site.root}" == diagnosis.where
    assert diagnosis.remedy.startswith("peft-studio connectors pin acme other-acme")
    assert diagnosis.is_fault


@pytest.mark.parametrize(
    ("swap", "question", "words"),
    [
        ({"manifest": None}, "manifest", "so lists show neither its features nor its credentials"),
        ({"manifest": "{"}, "manifest", "connector.json: is not JSON"),
        ({"manifest": {"name": "acme"}}, "manifest", "display_name is missing"),
        ({"changes": {"name": "other"}}, "agreement", "name is 'acme' in the entry point and 'other'"),
        ({"requires": ["peft-studio>=99"]}, "version", "it needs peft-studio >=99"),
        ({"value": "gone.plugin"}, "discovery", "there is no package gone"),
    ],
)
def test_what_a_list_knows(swap: dict[str, Any], question: str, words: str, site: Any) -> None:
    """Is told with the place of the plugin; a missing connector.json is advice."""
    if isinstance(swap.get("manifest"), str):
        swap = {"manifest": swap["manifest"].encode()}
    site.add("acme", **swap)
    diagnoses = examine([site.root])

    assert {question} == {diagnosis.question for diagnosis in diagnoses}
    assert words in "".join(diagnosis.what for diagnosis in diagnoses)
    assert {f"peft-studio-acme 1.0.0 in {site.root}"} == {diagnosis.where for diagnosis in diagnoses}
    assert (swap != {"manifest": None}) == any(diagnosis.is_fault for diagnosis in diagnoses)


def test_a_plugin_that_failed_before(site: Any) -> None:
    """Is remembered from the run in which it failed."""
    site.add("acme", plugin="raise KeyError('x')")
    ConnectorRegistry([site.root]).check("acme")
    site_imported = site.imported()
    diagnosis = only(site, "import")

    assert "acme: importing" in diagnosis.what
    assert diagnosis.is_fault
    assert site_imported == site.imported() == []


def test_a_plugin_that_policy_keeps_out_is_left_alone(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with it stops nobody."""
    site.add("acme", manifest=b"{", requires=["nothing-of-the-kind"])
    monkeypatch.setenv("PEFT_STUDIO_PLUGINS_DENY", "acme")

    assert [] == examine([site.root])


@pytest.mark.parametrize("line", ["nothing-of-the-kind>=2", "attrs>=9999", "peft-studio[no-such]>=0.1,<1; extra == ''"])
def test_requirements(line: str, site: Any) -> None:
    """Missing, or of another version; markers decide whether a line counts."""
    site.add("acme", requires=["peft-studio>=0.1,<1", line])
    said = {
        "nothing-of-the-kind>=2": "needs nothing-of-the-kind>=2, and nothing-of-the-kind is not installed",
        "attrs>=9999": "needs attrs>=9999, and attrs is ",
    }
    if line not in said:
        assert [] == examine([site.root])
        return
    diagnosis = only(site, "requirement")

    assert diagnosis.what.startswith(f"peft-studio-acme {said[line]}")
    assert f"peft-studio-acme 1.0.0 in {site.root}" == diagnosis.where
    assert f"{line}" in diagnosis.remedy
    assert diagnosis.is_fault


def test_an_extra_promises_what_it_brings(site: Any) -> None:
    """`engine[gpu]` is met only with what engine asks for under gpu, and not with what it asks for otherwise."""
    site.add("acme", requires=["engine[gpu]"])
    lines = ["cuda-thing>=3; extra == 'gpu'", "doc-thing; extra == 'doc'", "other-thing; python_version > '3'", "thing"]
    (site.write_metadata("engine", "1.0", lines, "") / "entry_points.txt").unlink()
    diagnosis = only(site, "requirement")

    assert (
        "peft-studio-acme needs cuda-thing>=3, and cuda-thing is not installed, which is told by engine"
        == diagnosis.what
    )


def test_what_counts_as_installed(site: Any) -> None:
    """A release candidate does, and of two metadata folders the one that imports go by."""
    site.add("acme", requires=["engine>=2"])
    for version, suffix in (("2.1rc1", "dist-info"), ("1.0", "egg-info")):
        (site.write_metadata("engine", version, [], "", suffix) / "entry_points.txt").unlink()

    assert [] == examine([site.root, site.root])


def test_distributions_that_want_each_other(site: Any) -> None:
    """A circle of extras ends."""
    site.add("acme", requires=["one[x]"])
    for name, other in (("one", "two"), ("two", "one")):
        (site.write_metadata(name, "1.0", [f"{other}[x]; extra == 'x'"], "") / "entry_points.txt").unlink()

    assert [] == examine([site.root])


def test_a_requirement_that_cannot_be_read(site: Any) -> None:
    """The author's mistake, and so the author's to mend."""
    site.add("acme", requires=["peft-studio>=0.1,<1", "what is this"])
    diagnosis = only(site, "requirement")

    assert "peft-studio-acme has a requirement that cannot be read: 'what is this'" == diagnosis.what
    assert "report it to the author of peft-studio-acme" == diagnosis.remedy


def test_an_editable_install_that_is_fresh(site: Any, tmp_path: Path) -> None:
    """The project says what the metadata say, the version in whatever form."""
    installed = site.add("acme")
    make_editable(installed, tmp_path / "project", project(installed, 'version = "1.0"'))

    assert [] == examine([site.root])


def test_an_editable_install_with_another_entry_point(site: Any, tmp_path: Path) -> None:
    """Renamed in the project, and not yet in the metadata: both names are told."""
    installed = site.add("acme")
    folder = make_editable(installed, tmp_path / "project", project(installed, name="fresh"))
    diagnoses = found(site, "editable")
    plugin = f"{installed.package}.plugin"

    assert [
        f"peft-studio-acme: its entry point acme is {plugin}, and pyproject.toml has nothing",
        f"peft-studio-acme: its entry point fresh is nothing, and pyproject.toml has {plugin}",
    ] == [diagnosis.what for diagnosis in diagnoses]
    assert {str(folder)} == {diagnosis.where for diagnosis in diagnoses}
    assert all(diagnosis.is_fault and diagnosis.remedy.endswith(f"-e {folder}") for diagnosis in diagnoses)


@pytest.mark.parametrize(
    "version",
    ['version = "1.1"', 'dynamic = ["version"]\n[tool.hatch.version]\npath = "version.py"\n[project.urls]'],
    ids=["static", "hatch"],
)
def test_an_editable_install_of_another_version(version: str, site: Any, tmp_path: Path) -> None:
    """It works all the same, and what depends on the version may not."""
    installed = site.add("acme")
    folder = make_editable(installed, tmp_path / "project", project(installed, version))
    (folder / "version.py").write_text('"""Doc."""\n__version__ = "1.1"\n')
    diagnosis = only(site, "editable")

    assert "peft-studio-acme: its version is 1.0.0, and the project's is 1.1" == diagnosis.what
    assert not diagnosis.is_fault


@pytest.mark.parametrize("layout", ["src", "."])
def test_an_editable_install_with_another_manifest(layout: str, site: Any, tmp_path: Path) -> None:
    """An editable install that is a copy of its project, as some build tools make it."""
    installed = site.add("acme")
    folder = make_editable(installed, tmp_path / "project", project(installed))
    package = folder / layout / installed.package
    package.mkdir(parents=True)
    (package / "connector.json").write_bytes((installed.folder / "connector.json").read_bytes())
    before = examine([site.root])
    (package / "connector.json").write_text("{}")

    assert [] == before
    assert "peft-studio-acme: its connector.json is not the project's" == only(site, "editable").what


def test_an_editable_install_whose_project_is_gone(site: Any, tmp_path: Path) -> None:
    """There is nothing to install anew from."""
    installed = site.add("acme")
    folder = make_editable(installed, tmp_path / "project", "")
    (folder / "pyproject.toml").unlink()
    folder.rmdir()
    diagnosis = only(site, "editable")

    assert f"peft-studio-acme: its project {folder} is gone" == diagnosis.what
    assert diagnosis.remedy.endswith(" peft-studio-acme")


@pytest.mark.parametrize("text", ["{", "[]", '{"url": 3}'])
def test_an_origin_that_cannot_be_told(text: str, site: Any) -> None:
    """A torn direct_url.json stops neither the plugin nor the doctor."""
    (site.add("acme").metadata / "direct_url.json").write_text(text)
    diagnosis = only(site, "editable")

    assert diagnosis.what.startswith("peft-studio-acme: where it came from cannot be told: ")
    assert not diagnosis.is_fault


def test_a_torn_pyproject(site: Any, tmp_path: Path) -> None:
    """Somebody is editing it."""
    installed = site.add("acme")
    folder = make_editable(installed, tmp_path / "project", "[project")

    assert f"{folder / 'pyproject.toml'} cannot be read" in only(site, "editable").what


def test_leftover_metadata(site: Any) -> None:
    """The folder that counts, and the one to remove; two of the same kind are a fault, because either may win."""
    installed = site.add("acme", version="1.0.0")
    site.write_metadata("Peft_Studio.Acme", "0.9", [], f"acme = {installed.package}.plugin", suffix="egg-info")
    egg = only(site, "leftover")
    second = site.write_metadata("peft-studio-acme", "1.0.1", [], f"acme = {installed.package}.plugin")
    both = found(site, "leftover")

    assert not egg.is_fault
    assert egg.what.endswith(
        "has two metadata folders: peft_studio_acme-1.0.0.dist-info counts, Peft_Studio.Acme-0.9.egg-info is left over"
    )
    assert f"remove {site.root / 'Peft_Studio.Acme-0.9.egg-info'}" == egg.remedy
    assert [True, False] == [diagnosis.is_fault for diagnosis in both]
    assert f"remove {second}" == both[0].remedy


def test_leftovers_of_others_are_none_of_our_business(site: Any) -> None:
    """Nor is a directory that is seen twice through a link."""
    for suffix in ("dist-info", "egg-info"):
        (site.write_metadata("unrelated", "1.0", [], "", suffix) / "entry_points.txt").unlink()
    site.add("acme")
    link = site.root.parent / "lib64"
    link.symlink_to(site.root, target_is_directory=True)

    assert [] == examine([site.root, link])


def test_a_plugin_that_vanished(site: Any, home: Path) -> None:
    """Told with its version and how to get it back, until it is back or the user says that it is meant."""
    installed = site.add("acme", version="1.2.3")
    assert [] == examine([site.root])
    gone = installed.metadata.rename(site.root.parent / "gone")
    first = only(site, "vanished")
    site.add("later")
    only(site, "vanished")
    second = only(site, "vanished")
    gone.rename(installed.metadata)
    assert [] == examine([site.root])
    installed.metadata.rename(gone)
    forget_vanished([site.root])

    assert first == second
    assert "peft-studio-acme 1.2.3, which delivers acme, was installed here and is not any more" == first.what
    assert sys.prefix == first.where
    assert " peft-studio-acme; or, if that is meant: peft-studio connectors doctor --forget" in first.remedy
    assert not first.is_fault
    assert [] == examine([site.root])


def test_a_list_remembers_what_it_shows(studio: Any, site: Any) -> None:
    """Nobody asks the doctor before something is gone; of an ambiguous name, everybody who claims it."""
    claimants = [site.add("acme"), site.add("acme", distribution="other-acme")]
    studio("connectors", "list")
    for number, installed in enumerate(claimants):
        installed.metadata.rename(site.root.parent / f"gone-{number}")
    told = studio("connectors", "doctor").stdout
    studio("connectors", "doctor", "--forget")

    assert "warning: peft-studio-acme 1.0.0, which delivers acme, was installed here and is not any more" in told
    assert "warning: other-acme 1.0.0, which delivers acme, was installed here and is not any more" in told
    assert "any more" not in studio("connectors", "doctor").stdout


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"PREFIX": []}', b'{"PREFIX": {"x": {"version": 1}}}'])
def test_a_corrupt_memory_is_done_without(content: bytes, site: Any, home: Path) -> None:
    """It is written anew."""
    site.add("acme")
    file = home / "state" / "plugins-seen.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content.replace(b"PREFIX", sys.prefix.encode()))

    assert [] == examine([site.root])
    assert "peft-studio-acme" in json.loads(file.read_bytes())[sys.prefix]


def test_a_list_writes_only_what_is_new(studio: Any, site: Any, home: Path) -> None:
    """It costs one read as long as nothing changes; environments that are gone are dropped with the next write."""
    file = home / "state" / "plugins-seen.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"/no/such/environment": {}}')
    site.add("acme")
    studio("connectors", "list")
    first = json.loads(file.read_bytes())
    os.utime(file, (1, 1))
    studio("connectors", "list")

    assert "/no/such/environment" not in first
    assert 1 == file.stat().st_mtime


def write_settings(home: Path, text: str) -> Path:
    """The user's settings.toml."""
    file = home / "config" / "settings.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_settings_that_cannot_be_read(site: Any, home: Path) -> None:
    """A fault, and not the end of the examination."""
    file = write_settings(home, "[plugins")
    site.add("acme", manifest=None)
    settings, manifest = examine([site.root])

    assert ("settings", str(file), "mend the file at that place", True) == (
        settings.question, settings.where, settings.remedy, settings.is_fault,
    )  # fmt: skip
    assert "manifest" == manifest.question


def test_names_that_nobody_has(site: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they stand, and how to take them out there."""
    site.add("acme")
    file = write_settings(home, '[plugins]\nallow = ["acme", "acne"]\ndeny = ["xyz", "peft_studio_ACME_x"]\n')
    monkeypatch.setenv("PEFT_STUDIO_PLUGINS_DENY", "qqq")
    diagnoses = {diagnosis.what: diagnosis for diagnosis in found(site, "policy")}
    acne = diagnoses["allow names acne, and nothing installed is called that"]

    assert 4 == len(diagnoses)
    assert "did you mean acme? otherwise: peft-studio connectors allow acne --remove" == acne.remedy
    assert (str(file), False) == (acne.where, acne.is_fault)
    qqq = diagnoses["deny names qqq, and nothing installed is called that"]
    assert ("PEFT_STUDIO_PLUGINS_DENY", "take qqq out of PEFT_STUDIO_PLUGINS_DENY") == (qqq.where, qqq.remedy)


def test_pins_that_hold_nothing(site: Any, home: Path) -> None:
    """Of a distribution that is not installed, or that delivers something else, or with somebody else at the name."""
    site.add("acme")
    site.add("taken", distribution="thief")
    write_settings(
        home,
        '[plugins.pin]\nfirst = "not-there"\nsecond = "peft-studio-acme"\ntaken = "owner"\nacme = "Peft_Studio_acme"\n',
    )
    told = {diagnosis.what: diagnosis for diagnosis in examine([site.root])}

    assert {
        "first is pinned to not-there, which is not installed": False,
        "second is pinned to peft-studio-acme, which delivers no connector of that name": False,
        "taken: the name taken is pinned to owner, but belongs to thief 1.0.0": True,
    } == {what: diagnosis.is_fault for what, diagnosis in told.items()}
    (second,) = [each for what, each in told.items() if what.startswith("second")]
    assert "peft-studio connectors pin second --remove" == second.remedy


def test_a_reserved_name(site: Any, home: Path) -> None:
    """Whoever calls itself like one of ours is looked at, until the user says that it is trusted."""
    site.add("local", distribution="free-local")
    diagnosis = only(site, "reserved")
    write_settings(home, '[plugins.pin]\nlocal = "free-local"\n')

    assert "local is the name of peft-studio-local, and free-local claims it" == diagnosis.what
    assert (
        "peft-studio connectors pin local peft-studio-local; or, if you trust the other: "
        "peft-studio connectors pin local free-local" == diagnosis.remedy
    )
    assert diagnosis.is_fault
    assert [] == examine([site.root])


def test_our_own_name(site: Any) -> None:
    """Is ours."""
    site.add("local", distribution="Peft.Studio_local")

    assert [] == examine([site.root])


def test_a_sandbox_without_its_connector(site: Any) -> None:
    """Nobody can use it."""
    site.add("acme")
    metadata = site.write_metadata("acme-sandboxes", "3.0", [], "")
    (metadata / "entry_points.txt").write_text("[peft_studio.sandboxes]\nacme = a.b:C\nother = a.b:D\n")
    diagnosis = only(site, "sandbox")

    assert "acme-sandboxes brings a sandbox for other, and no connector of that name is installed" == diagnosis.what
    assert f"acme-sandboxes 3.0 in {site.root}" == diagnosis.where


def test_faults_come_first(site: Any) -> None:
    """Then warnings, then advice."""
    site.add("acme", manifest=None)
    site.add("other", requires=["nothing-of-the-kind"])
    site.write_metadata("peft-studio-acme", "0.9", [], "acme = x.y", suffix="egg-info")

    assert ["fault", "warning", "advice"] == [str(diagnosis.severity) for diagnosis in examine([site.root])]


def test_the_command(studio: Any, site: Any) -> None:
    """A fault gives the exit code of a broken connector; each diagnosis has three lines."""
    site.add("acme", manifest=None)
    advice = studio("connectors", "doctor")
    site.add("other", requires=["nothing-of-the-kind"])
    told = studio("connectors", "doctor", code=10).stdout.splitlines()
    document = json.loads(studio("connectors", "doctor", "--json", code=10).stdout)

    assert "advice: acme: " in advice.stdout
    assert "fault: peft-studio-other needs nothing-of-the-kind, and nothing-of-the-kind is not installed" == told[0]
    assert f"  in: peft-studio-other 1.0.0 in {site.root}" == told[1]
    assert told[2].startswith("  try: ")
    assert document["ok"] is False
    assert {"question", "severity", "what", "where", "remedy"} == set(document["diagnoses"][0])
    assert "requirement" == document["diagnoses"][0]["question"]


def test_no_plugin_is_imported(site: Any, tmp_path: Path) -> None:
    """Not even one that is broken in every way, asked in a process of its own."""
    for name in ("acme", "other"):
        site.add(name, init="raise SystemExit('imported')", requires=["nothing"], manifest=b"{")
    installed = site.add("third", init="raise SystemExit('imported')")
    make_editable(installed, tmp_path / "project", project(installed, name="fresh"))
    program = (
        "import sys; from peft_studio.doctor import examine\n"
        f"assert examine([{str(site.root)!r}])\n"
        f"print([name for name in sys.modules if name.startswith('plugin_')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "[]\n" == done.stdout


def test_every_question_is_in_the_reference() -> None:
    """One row each, in the words of the code."""
    page = (ROOT / "docs" / "reference" / "plugins.md").read_text(encoding="utf-8")

    assert [] == [question.__doc__ for question in QUESTIONS if str(question.__doc__).partition("\n")[0] not in page]


def test_the_search_for_the_installer_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setuptools waits for a search for pip on `sys.meta_path`, and cannot be imported any more after it."""
    heard: list[str] = []

    class Listener:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            heard.append(name)

    monkeypatch.setattr(sys, "meta_path", [Listener(), *sys.meta_path])
    remedy_to_install("peft-studio-acme")

    assert "pip" not in heard
