"""Search and metadata: what the Hub says of models, in our words."""

from __future__ import annotations

import pytest

from peft_studio import InvalidConfig, PlatformError
from peft_studio_huggingface.repository import RemoteFile, RepositoryId

CARD = b"---\nbase_model: acme/tiny\nlicense: apache-2.0\ntags: [lora, peft]\n---\n"


async def test_a_search_can_name_author_and_tags(sandbox, connector):
    """The rest are words of ids."""
    for id in ("me/tiny-lora", "acme/tiny-lora", "me/other"):
        sandbox.hub.add(id, {"README.md": CARD})
    sandbox.hub.add("me/tiny-plain")
    found = await connector.search_models("author:me tag:lora  tiny tag:peft")
    assert ["me/tiny-lora"] == [model.id for model in found]


async def test_a_search_ends_at_its_limit(sandbox, connect):
    """With the most downloaded; no page is asked for in vain."""
    for number in range(50):
        sandbox.hub.add(f"me/model-{number}", downloads=number)
    found = await (await connect(search_limit="30")).search_models("model")
    assert [f"model-{number}" for number in range(49, 19, -1)] == [model.name for model in found]
    assert 2 == sandbox.count("GET", "^/api/models$")


async def test_no_more_is_asked_for_than_is_wanted(sandbox, connector):
    """Whoever looks at three models does not wait for a thousand; the limit of the settings holds all the same."""
    for number in range(50):
        sandbox.hub.add(f"me/model-{number}", downloads=number)
    found = await connector.search_models("model", limit=3)
    assert ["model-49", "model-48", "model-47"] == [model.name for model in found]
    (asked,) = [request for request in sandbox.requests if request.path == "/api/models"]
    assert ("limit", "3") in asked.query


async def test_a_model_is_told_with_its_licence_and_size(sandbox, connector):
    """The size is that of all files, those in LFS as they are and not as their pointers."""
    weights = bytes(5000)
    repository = sandbox.hub.add("me/lora", {"README.md": CARD, "adapter_model.safetensors": weights}, downloads=3)
    info = await connector.get_model_metadata("me/lora")
    assert ("me/lora", "lora", "acme/tiny", "me", "apache-2.0", 3) == (
        info.id, info.name, info.base_model, info.author, info.license, info.downloads,
    )  # fmt: skip
    assert sum(file.size for file in repository.head.files.values()) == info.size_bytes
    assert (f"{sandbox.url}/me/lora", 2026) == (info.url, info.created.year)


async def test_metadata_are_those_of_the_revision(sandbox, connector):
    """`owner/name@commit` is pinned."""
    sandbox.hub.add("me/lora", {"README.md": CARD})
    first = sandbox.hub["me/lora"].head.id
    sandbox.hub.put("me/lora", {"README.md": CARD.replace(b"apache-2.0", b"mit")})
    infos = [await connector.get_model_metadata(id) for id in (f"me/lora@{first}", "me/lora")]
    assert ["apache-2.0", "mit"] == [info.license for info in infos]


@pytest.mark.parametrize("id", ["", "a/b/c", "../etc", "me/..", "me/lora@", "me lora", "me/lora?x", "/x"])
def test_what_is_no_id_is_refused(id):
    """Nothing of it becomes a path."""
    with pytest.raises(InvalidConfig, match="is no id of a repository"):
        RepositoryId.of(id)


@pytest.mark.parametrize("id", ["gpt2", "me/lora.v1", "me/lora@main", "me/lora@refs/pr/1"])
def test_ids_with_and_without_owner_and_revision(id):
    """Some old models have no owner."""
    assert id == str(RepositoryId.of(id))


@pytest.mark.parametrize("path", ["../x", "a/../b", "/etc/x", "a//b", "a\\b", "."])
def test_a_path_that_leads_out_is_refused(path):
    """Whatever the Hub says."""
    with pytest.raises(PlatformError, match="would not stay in its folder"):
        RemoteFile.of({"path": path, "size": 1, "oid": "0"})
