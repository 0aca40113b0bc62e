"""Whose token it is, and what becomes of one that may not do what is asked."""

from __future__ import annotations

import pytest

from peft_studio import ArtifactNotFound, ConnectionFailed, InvalidCredentials
from peft_studio_huggingface.api import Account
from peft_studio_huggingface.connector import HuggingFaceConnector


async def test_the_token_tells_who_it_is(connector):
    """Name, organisations and role, asked for once."""
    account = await connector.account()
    assert ("me", ("acme",), "write", frozenset()) == (
        account.name, account.organisations, account.role, account.permissions,
    )  # fmt: skip


async def test_the_scopes_of_a_fine_grained_token_are_read(sandbox, connect):
    """As far as they are told where the sandbox tells them."""
    connector = await connect(token=sandbox.accounts.issue("me", "fineGrained", "repo.write"))
    account = await connector.account()
    assert ("fineGrained", frozenset({"repo.write"})) == (account.role, account.permissions)


def test_scopes_of_another_shape_are_not_known():
    """Nobody has documented the shape, so nothing depends on it."""
    document = {"name": "me", "auth": {"accessToken": {"role": "fineGrained", "fineGrained": ["x"]}}, "orgs": 7}
    account = Account.of(document)
    assert ((), frozenset(), None) == (account.organisations, account.permissions, account.can_pay)


async def test_a_token_that_may_only_read_uploads_nothing(sandbox, connect, tmp_path):
    """It is told before anything is sent."""
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    connector = await connect(token=sandbox.accounts.issue("me", "read"))
    with pytest.raises(InvalidCredentials, match="the token may only read"):
        await connector.upload_artifact(str(tmp_path), {"repo_id": "me/lora"})
    assert 0 == sandbox.count("POST", ".")


async def test_a_namespace_of_somebody_else_is_refused(connector, tmp_path):
    """In the Hub's words, with what to look at."""
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidCredentials, match="under the namespace") as caught:
        await connector.upload_artifact(str(tmp_path), {"repo_id": "somebody/lora"})
    assert "Access Tokens" in caught.value.remedy


async def test_what_is_hidden_is_missing(sandbox, connect):
    """The Hub does not say which of the two."""
    sandbox.hub.add("me/secret", {"config.json": b"{}"}, private=True)
    connector = await connect(token=sandbox.accounts.issue("stranger"))
    with pytest.raises(ArtifactNotFound):
        await connector.get_model_metadata("me/secret")


async def test_a_401_about_a_repository_says_nothing_of_a_good_token(sandbox, connector):
    """Of one that is hidden the Hub may say so; the token itself is asked for then."""
    sandbox.faults.add("status", path="/api/models/me/", code=401, body={"error": "Invalid username or password."})
    with pytest.raises(ArtifactNotFound, match="or this token may not see it"):
        await connector.get_model_metadata("me/lora")


async def test_a_401_after_the_token_was_revoked_is_its_own(sandbox, connector):
    """The same answer, and another reason."""
    sandbox.revoke()
    with pytest.raises(InvalidCredentials, match="Invalid credentials"):
        await connector.get_model_metadata("me/lora")


async def test_a_gate_is_told_with_where_to_ask(sandbox, connect, tmp_path):
    """The metadata are open, the files are not."""
    sandbox.hub.add("acme/gated", {"config.json": b"{}"}).gated = "manual"
    connector = await connect(token=sandbox.accounts.issue("stranger"))
    assert "acme/gated" == (await connector.get_model_metadata("acme/gated")).id
    with pytest.raises(InvalidCredentials, match="restricted") as caught:
        await connector.download_model("acme/gated", tmp_path / "model")
    assert f"{sandbox.url}/acme/gated" in caught.value.remedy


async def test_the_account_of_nobody_is_an_error():
    """Before the connector is connected."""
    with pytest.raises(ConnectionFailed, match="not connected"):
        await HuggingFaceConnector().account()
