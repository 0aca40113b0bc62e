"""The GraphQL documents that are sent ask for nothing that W&B's own client does not ask for in the same way.

W&B publishes no schema. What its client asks for is listed in asked_by_wandb.txt, as plain facts. Where the client's
operation documents are at hand, WANDB_GRAPHQL_DOCUMENTS names their folder, and the list is compared with them.
"""

from __future__ import annotations

import os
from pathlib import Path

import graphql
import pytest

from peft_studio_wandb import documents
from peft_studio_wandb.sandbox.graphql import _schema

from .graphql_facts import facts_in, facts_of, unknown

NAMES = [name for name in vars(documents) if name.isupper()]
PAGE = Path(__file__).with_name("asked_by_wandb.txt")
FOLDER = "WANDB_GRAPHQL_DOCUMENTS"


@pytest.mark.parametrize("name", NAMES)
def test_document_fits_the_schema(name: str) -> None:
    """It is one that the sandbox's schema has."""
    assert [] == graphql.validate(_schema(), graphql.parse(getattr(documents, name)))


@pytest.mark.parametrize("name", NAMES)
def test_document_asks_what_the_client_asks(name: str) -> None:
    """Every field and argument is in an operation of the client, and variables are of types that it declares too."""
    assert [] == unknown(facts_of(getattr(documents, name)), facts_in(PAGE.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "document",
    [
        "{ models { totalCount } }",
        "query Q($name: Int!) { project(name: $name, entityName: null) { id } }",
        "query Q($first: String!) { models(first: $first) { edges { cursor } } }",
    ],
)
def test_other_questions_are_noticed(document: str) -> None:
    """A field that the client never asks for, and a variable of another type."""
    assert unknown(facts_of(document), facts_in(PAGE.read_text(encoding="utf-8")))


def test_list_is_what_the_operation_documents_say() -> None:
    """Every fact of it, and no other."""
    if FOLDER not in os.environ:
        pytest.skip(f"{FOLDER} names no folder with the operation documents of W&B's client")
    found: set[str] = set()
    for file in Path(os.environ[FOLDER]).rglob("*.graphql"):
        if not file.name.endswith("schema.graphql"):
            found |= facts_of(file.read_text(encoding="utf-8"))
    assert sorted(found) == sorted(facts_in(PAGE.read_text(encoding="utf-8")))
