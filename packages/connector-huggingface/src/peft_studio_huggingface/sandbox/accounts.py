"""Who there is, what tokens they have, and what a token may do."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Literal

from attrs import define, field, frozen
from starlette.requests import HTTPConnection

from peft_studio_huggingface.sandbox.problems import Refusal
from peft_studio_huggingface.sandbox.timeline import date_text

Role = Literal["read", "write", "fineGrained"]
OWNER = "me"


@define
class Account:
    """A user."""

    name: str
    #: Organisations and the role there.
    organisations: dict[str, str] = field(factory=dict)
    #: False: Jobs and endpoints are refused with 402.
    can_pay: bool = True
    is_pro: bool = False

    def may_write(self, namespace: str) -> bool:
        """True for its own namespace, and those of organisations where it is more than a reader."""
        return namespace == self.name or self.organisations.get(namespace) in ("write", "admin", "contributor")

    def may_read(self, namespace: str) -> bool:
        """True where it sees what is private."""
        return namespace == self.name or namespace in self.organisations


@frozen
class Token:
    """What stands behind a secret. A fine-grained one may do what its permissions name, everywhere its user may."""

    account: Account
    role: Role = "write"
    permissions: frozenset[str] = frozenset()

    def may(self, permission: str) -> bool:
        """`repo.write`, `job.write` and the like."""
        return self.role == "write" or (self.role == "fineGrained" and permission in self.permissions)


class Accounts:
    """The users: the sandbox's own, and who else a test needs."""

    def __init__(self, key: Callable[[], str]) -> None:
        self._key = key
        self.reset()

    def reset(self) -> None:
        """Nobody but the sandbox's own user."""
        self.users = {OWNER: Account(OWNER, {"acme": "write"})}
        self._tokens: dict[str, Token] = {}

    @property
    def owner(self) -> Account:
        """Whose token the sandbox's key is."""
        return self.users[OWNER]

    def issue(self, name: str = OWNER, role: Role = "write", *permissions: str) -> str:
        """A new secret for that user, who is made when there is none of that name."""
        account = self.users.setdefault(name, Account(name))
        secret = f"hf_{secrets.token_hex(17)}"
        self._tokens[secret] = Token(account, role, frozenset(permissions))
        return secret

    def token(self, request: HTTPConnection) -> Token | None:
        """Who asks; None for nobody in particular. Raises `Refusal` for a secret that is none."""
        given = request.headers.get("authorization")
        if given is None:
            return None
        secret = given.removeprefix("Bearer ")
        if secrets.compare_digest(secret.encode(), self._key().encode()):
            return Token(self.owner)
        if secret not in self._tokens:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self._tokens[secret]

    def known(self, request: HTTPConnection) -> Token:
        """Who asks. Raises `Refusal` for nobody."""
        token = self.token(request)
        if token is None:
            raise Refusal(401, "Invalid username or password.")
        return token


def whoami(token: Token) -> dict[str, Any]:
    """What a token says about itself. What a fine-grained one may do is told in a shape that no document states."""
    account = token.account
    access = {"displayName": "sandbox", "role": token.role, "createdAt": date_text(0)}
    if token.role == "fineGrained":
        entity = {"type": "user", "name": account.name}
        scoped = [{"entity": entity, "permissions": sorted(token.permissions)}]
        access |= {"fineGrained": {"canReadGatedRepos": False, "global": [], "scoped": scoped}}  # type: ignore[dict-item]  # nested
    return {
        "type": "user",
        "id": _id(account.name),
        "name": account.name,
        "fullname": account.name.title(),
        "email": f"{account.name}@sandbox.example",
        "emailVerified": True,
        "canPay": account.can_pay,
        "isPro": account.is_pro,
        "periodEnd": None,
        "avatarUrl": "/avatars/sandbox.svg",
        "orgs": [
            {"type": "org", "id": _id(name), "name": name, "fullname": name.title(), "roleInOrg": role}
            for name, role in account.organisations.items()
        ],
        "auth": {"type": "access_token", "accessToken": access},
    }


def _id(name: str) -> str:
    return name.encode().hex().ljust(24, "0")[:24]
