"""POST /graphql: each document is validated against the sandbox's own schema, then answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import graphql as language
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from peft_studio_wandb.sandbox.problems import Refusal
from peft_studio_wandb.sandbox.writer import Writer


class GraphQl:
    """The handler. `violation` hears of documents that the schema does not have, `bug` of faults of the sandbox."""

    def __init__(
        self, caller: Callable[[Request], Writer], violation: Callable[[str], None], bug: Callable[[Exception], None]
    ) -> None:
        self._caller = caller
        self._violation = violation
        self._bug = bug

    def routes(self) -> list[Route]:
        """Its path."""
        return [Route("/graphql", self.answer, methods=["POST"])]

    async def answer(self, request: Request) -> Response:
        """One document."""
        asked = await request.json()
        try:
            document = language.parse(asked["query"])
            faults = language.validate(_schema(), document)
        except language.GraphQLSyntaxError as error:
            faults = [error]
        if faults:
            for fault in faults:
                self._violation(f"{asked.get('operationName')}: {fault.message}")
            return _answer(400, {"errors": [{"message": fault.message} for fault in faults]})
        result = language.execute_sync(
            _schema(), document, root_value=self._caller(request), variable_values=asked.get("variables"),
            operation_name=asked.get("operationName") or None,
        )  # fmt: skip
        return self._told(result)

    def _told(self, result: language.ExecutionResult) -> Response:
        """The answer, with the status of the first refusal."""
        status, errors = 200, []
        for error in result.errors or ():
            cause = error.original_error
            if isinstance(cause, Refusal):
                status = cause.status if status == 200 else status
            elif isinstance(cause, Exception):
                self._bug(cause)
                status = 500
            else:
                status = 400
            errors.append(_shown(error))
        return _answer(status, {"errors": errors, "data": result.data} if errors else {"data": result.data})


def _shown(error: language.GraphQLError) -> dict[str, Any]:
    cause = error.original_error
    shown: dict[str, Any] = {"message": error.message, "path": error.path}
    if isinstance(cause, Refusal) and cause.code is not None:
        shown["extensions"] = {"code": cause.code}
    return shown


def _answer(status: int, body: Any) -> Response:
    """JSON as W&B writes it: NaN and Infinity stand in it as they are."""
    return Response(json.dumps(body), status, media_type="application/json")


@cache
def _schema() -> language.GraphQLSchema:
    return language.build_schema(Path(__file__).with_name("schema.graphql").read_text(encoding="utf-8"))
