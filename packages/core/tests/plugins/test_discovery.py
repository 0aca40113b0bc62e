"""Scanning: what counts as one distribution, who claims what, and that nothing is imported."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from peft_studio.discovery import scan
from peft_studio.registry import ConnectorRegistry


def listed(*path: Path) -> list[tuple[str, str, list[str]]]:
    """Name, state and problems of each connector on `path`."""
    records = ConnectorRegistry([str(entry) for entry in path]).list()
    return [(record.name, str(record.state), [problem.message for problem in record.problems]) for record in records]


def test_listing_imports_nothing(site: Any) -> None:
    """A record has everything that connector.json and the metadata say, and no package of the site is imported."""
    site.add("acme", version="1.2.3")
    (record,) = ConnectorRegistry([site.root]).list()

    assert ("acme", "The acme platform", "peft-studio-acme", "1.2.3", ("training",)) == (
        record.name,
        record.display_name,
        record.distribution,
        record.version,
        record.features,
    )
    assert [] == site.imported()


def test_the_json_shape_is_a_promise(site: Any) -> None:
    """`connectors list --json` has exactly these keys."""
    site.add("acme")

    assert {
        "name": "acme",
        "display_name": "The acme platform",
        "distribution": "peft-studio-acme",
        "version": "1.0.0",
        "state": "described",
        "features": ["training"],
        "problems": [],
    } == ConnectorRegistry([site.root]).list()[0].to_dict()


def test_a_plugin_without_manifest_is_found(site: Any) -> None:
    """It is listed and can be used; the check advises writing one."""
    site.add("acme", manifest=None)
    registry = ConnectorRegistry([site.root])

    assert [("acme", "found", [])] == listed(site.root)
    assert "acme" == registry.activate("acme").name
    assert ["advice"] == [str(finding.severity) for finding in registry.check("acme")]
    assert "connector.json beside its __init__.py" in str(registry.check("acme")[0].remedy)


def test_a_byte_order_mark_is_a_warning(site: Any) -> None:
    """Some editors write one; the file is read all the same."""
    site.add("acme")
    file = site.root / site.packages[0] / "connector.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    assert [("acme", "described", ["connector.json: starts with a byte order mark"])] == listed(site.root)


def test_a_site_directory_seen_through_a_link_counts_once(site: Any, tmp_path: Path) -> None:
    """lib64 is often a link to lib; the connector is not ambiguous because of it."""
    site.add("acme")
    link = tmp_path / "lib64"
    link.symlink_to(site.root, target_is_directory=True)

    assert [("acme", "described", [])] == listed(site.root, link)


def test_an_egg_info_beside_the_dist_info_counts_once(site: Any) -> None:
    """Leftovers of an older build do not make a second claim, and the dist-info is the one believed."""
    installed = site.add("acme", version="1.0.0")
    site.write_metadata("peft-studio-acme", "0.9.0", [], f"acme = {installed.package}.plugin", suffix="egg-info")

    assert ["1.0.0"] == [record.version for record in ConnectorRegistry([site.root]).list()]


def test_an_egg_info_alone_is_read(site: Any) -> None:
    """Old installers leave nothing else."""
    installed = site.add("acme")
    for file in installed.metadata.iterdir():
        file.unlink()
    installed.metadata.rmdir()
    site.write_metadata("Peft_Studio.Acme", "0.9.0", [], f"acme = {installed.package}.plugin", suffix="egg-info")

    assert [("Peft_Studio.Acme", "0.9.0")] == [
        (record.distribution, record.version) for record in ConnectorRegistry([site.root]).list()
    ]


def test_the_first_directory_wins_for_one_distribution(site: Any, tmp_path: Path) -> None:
    """A user's copy hides the system's, as it does for imports, whichever name they spell it with."""
    site.add("acme", distribution="peft-studio-acme", version="2.0.0")
    other = type(site)(tmp_path / "system")
    other.add("acme", distribution="Peft_Studio.Acme", version="1.0.0")

    assert ["2.0.0"] == [record.version for record in ConnectorRegistry([site.root, other.root]).list()]


def test_names_are_in_order_whatever_the_file_system_says(site: Any) -> None:
    """Lists look the same on every machine."""
    for name in ("zeta", "alpha", "mid"):
        site.add(name)

    assert ["alpha", "mid", "zeta"] == [record.name for record in ConnectorRegistry([site.root]).list()]


def test_one_distribution_that_claims_a_name_twice_is_broken(site: Any) -> None:
    """Neither of its modules is chosen."""
    installed = site.add("acme")
    entries = f"[peft_studio.connectors]\nacme = {installed.package}.plugin\nacme = {installed.package}.connector\n"
    (installed.metadata / "entry_points.txt").write_text(entries)
    message = f"it claims the name 'acme' twice, for {installed.package}.plugin and {installed.package}.connector"

    assert [("acme", "broken", [message])] == listed(site.root)


@pytest.mark.parametrize("name", ["Acme", "acme!", "-acme", "acme cloud"])
def test_a_name_that_nobody_could_type_is_broken(name: str, site: Any) -> None:
    """Names go on command lines and into variables."""
    installed = site.add("acme")
    (installed.metadata / "entry_points.txt").write_text(
        f"[peft_studio.connectors]\n{name} = {installed.package}.plugin\n"
    )
    message = f"its entry point has the name {name!r}; a name has lower-case letters and digits, joined by - or _"

    assert [(name, "broken", [message])] == listed(site.root)


def test_metadata_that_is_gone_is_a_record(site: Any) -> None:
    """An interrupted uninstall leaves entry points without METADATA; the others are listed all the same."""
    site.add("good")
    (site.add("acme").metadata / "METADATA").unlink()
    (acme, good) = listed(site.root)

    assert ("acme", "broken") == acme[:2]
    assert acme[2][0].startswith("its METADATA cannot be read")
    assert ("good", "described", []) == good


def test_entry_points_that_are_not_text_are_a_record(site: Any) -> None:
    """Without a readable name the distribution stands in for it."""
    site.add("good")
    (site.add("acme").metadata / "entry_points.txt").write_bytes(b"\xff\xfe[peft_studio.connectors]")
    (good, acme) = listed(site.root)

    assert ("peft_studio_acme", "broken") == acme[:2]
    assert acme[2][0].startswith("its entry_points.txt cannot be read")
    assert ("good", "described", []) == good


def test_other_groups_are_none_of_our_business(site: Any) -> None:
    """A distribution with entry points of another program is no connector."""
    installed = site.add("acme")
    (installed.metadata / "entry_points.txt").write_text("[console_scripts]\nacme = acme:main\n")

    assert {} == scan([str(site.root)])


def test_everything_works_from_a_zip_file(site: Any, tmp_path: Path) -> None:
    """Metadata, connector.json and the import all go through the archive."""
    site.add("acme")
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for file in sorted(site.root.rglob("*")):
            bundle.write(file, file.relative_to(site.root))
    registry = ConnectorRegistry([archive])

    assert [("acme", "described", [])] == listed(archive)
    assert "acme" == registry.activate("acme").name


def test_a_zip_file_without_manifest_is_found(site: Any, tmp_path: Path) -> None:
    """Archives report a missing member in their own way."""
    site.add("acme", manifest=None)
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for file in sorted(site.root.rglob("*")):
            bundle.write(file, file.relative_to(site.root))

    assert [("acme", "found", [])] == listed(archive)


def test_an_editable_install_is_described(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata lies in the site directory, the package elsewhere on sys.path."""
    installed = site.add("acme")
    source = tmp_path / "checkout"
    source.mkdir()
    installed.folder.rename(source / installed.package)
    monkeypatch.syspath_prepend(str(source))

    assert [("acme", "described", [])] == listed(site.root)


def test_an_unreadable_manifest_is_a_fault(site: Any) -> None:
    """A folder in the manifest's place is not the same as no manifest."""
    installed = site.add("acme", manifest=None)
    (installed.folder / "connector.json").mkdir()

    assert [("acme", "broken", ["connector.json: cannot be read: Is a directory"])] == listed(site.root)


def test_the_disk_is_read_once_until_refresh(site: Any) -> None:
    """A new plugin appears after `refresh`, not in the middle of a run."""
    site.add("acme")
    registry = ConnectorRegistry([site.root])
    registry.list()
    site.add("later")

    assert ["acme"] == [record.name for record in registry.list()]
    registry.refresh()
    assert ["acme", "later"] == [record.name for record in registry.list()]
