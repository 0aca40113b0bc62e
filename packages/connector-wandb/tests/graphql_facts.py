"""What GraphQL documents ask for, as plain facts: `Run.history(minStep: Int64!)`, one for each field and argument.

The types are named as in the sandbox's schema; what that does not have is no fact. Of an argument it is told as which
type the document declares what it passes; a value that stands in the document itself has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import graphql

from peft_studio_wandb.sandbox.graphql import _schema


def facts_of(document: str) -> set[str]:
    """The facts of every operation and fragment in a document."""
    found: set[str] = set()
    tree = graphql.parse(document)
    for definition in tree.definitions:
        known = graphql.TypeInfo(_schema())
        visitor = _Facts(known, _declared(definition), found)
        graphql.visit(definition, graphql.TypeInfoVisitor(known, visitor))
    return found


def unknown(facts: set[str], known: set[str]) -> list[str]:
    """Facts that are not known.

    What cannot be null may be passed where null is known to be taken, and a value where a variable is known to be.
    """
    arguments = {fact.partition(":")[0].removesuffix(")") for fact in known}
    plain = {f"{argument})" for argument in arguments if "(" in argument}
    return sorted(fact for fact in facts if not {fact, fact.replace("!)", ")")} & (known | plain))


def facts_in(page: str) -> set[str]:
    """Those that a file lists, one in a line; the lines with # say where they are from."""
    return {line for line in page.splitlines() if line and not line.startswith("#")}


def _declared(definition: Any) -> dict[str, str]:
    variables = getattr(definition, "variable_definitions", None) or ()
    return {each.variable.name.value: graphql.print_ast(each.type) for each in variables}


class _Facts(graphql.Visitor):
    def __init__(self, known: graphql.TypeInfo, declared: dict[str, str], found: set[str]) -> None:
        super().__init__()
        self._known, self._declared, self._found = known, declared, found

    def enter_field(self, node: Any, *_: Any) -> None:
        parent, field = self._known.get_parent_type(), self._known.get_field_def()
        if parent is None or field is None:
            return
        place = f"{parent.name}.{node.name.value}"
        self._found.add(place)
        for argument in node.arguments or ():
            if argument.name.value in field.args:
                kind = field.args[argument.name.value].type
                self._found.update(self._passed(f"{place}({argument.name.value}", kind, argument.value))

    def _passed(self, place: str, kind: Any, value: Any) -> Iterator[str]:
        """An argument, or the fields of an object that stands in the document."""
        kind = graphql.get_nullable_type(kind)
        if isinstance(value, graphql.VariableNode):
            declared = self._declared.get(value.name.value)  # a fragment declares none
            yield f"{place})" if declared is None else f"{place}: {declared})"
        elif isinstance(value, graphql.ObjectValueNode) and isinstance(kind, graphql.GraphQLInputObjectType):
            for field in value.fields:
                if field.name.value in kind.fields:
                    yield from self._passed(
                        f"{place}.{field.name.value}", kind.fields[field.name.value].type, field.value
                    )
        else:
            yield f"{place})"
