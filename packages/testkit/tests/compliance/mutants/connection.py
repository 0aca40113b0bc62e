"""Connectors that do not connect, or do not let go."""

from __future__ import annotations

from mutants import edit, mutant, without

_ASK = "            await api.account()\n        except BaseException:\n"
_INIT = "        self._connection: AcmeApi | None = None\n"
_TAKE = "        previous, self._connection = self._connection, api\n"
_TAKE_ANY = '        previous, self._connection = getattr(self, "_connection", None), api\n'
_GIVE = "        connection, self._connection = self._connection, None\n"
_GUARD = "        if self._connection is None:\n            raise ConnectionFailed("
_GUARD_ANY = '        if getattr(self, "_connection", None) is None:\n            raise ConnectionFailed('
_CONNECT = '        key = credentials.get("api_key")\n'
_VERIFIED = "        except (ConnectionFailed, InvalidCredentials):\n            return False\n        return True\n"

MUTANTS = (
    mutant(
        "connect-answers-true",
        "connect answers nothing.",
        edit(
            "connector.py",
            "            await previous.close()\n        return True\n",
            "            await previous.close()\n",
        ),
        ruins="nothing can be asked of a connector that does not connect",
    ),
    mutant(
        "connect-asks-the-platform",
        "connect looks at the form of the key, and leaves the rest to the first job.",
        edit(
            "connector.py",
            _ASK,
            '            if not key.startswith("key-"):\n'
            '                raise InvalidCredentials("the api_key is no key of Acme")\n'
            "        except BaseException:\n",
        ),
    ),
    mutant(
        "wrong-credentials-are-refused",
        "connect asks, and does not listen when the platform does not know the key.",
        edit(
            "connector.py",
            _ASK,
            "            try:\n"
            "                await api.account()\n"
            "            except InvalidCredentials:\n"
            "                pass\n"
            "        except BaseException:\n",
        ),
    ),
    mutant(
        "missing-credentials-are-refused",
        "The error does not say which key is missing.",
        edit("connector.py", '"there is no api_key", remedy="set ACME_API_KEY"', '"credentials are incomplete"'),
    ),
    mutant(
        "credentials-stay-as-they-are",
        "connect takes the key out of the mapping.",
        edit("connector.py", _CONNECT, '        key = credentials.pop("api_key", None)\n'),
    ),
    mutant(
        "credentials-stay-as-they-are",
        "connect refuses keys that it does not know.",
        edit(
            "connector.py",
            _CONNECT,
            '        if set(credentials) - {"api_key", "base_url"}:\n'
            '            raise InvalidCredentials("there are credentials that Acme does not know")\n'
            f"{_CONNECT}",
        ),
    ),
    mutant(
        "verify-connection-is-true",
        "verify_connection answers the account.",
        edit(
            "connector.py",
            f"            await self._api.account()\n{_VERIFIED}",
            "            return await self._api.account()\n"
            "        except (ConnectionFailed, InvalidCredentials):\n"
            "            return False\n",
        ),
    ),
    mutant(
        "verify-connection-notices-revocation",
        "For verify_connection a platform that refuses the key is a platform that answers.",
        edit(
            "connector.py",
            _VERIFIED,
            "        except InvalidCredentials:\n            return True\n"
            "        except ConnectionFailed:\n            return False\n        return True\n",
        ),
    ),
    mutant(
        "verify-connection-notices-silence",
        "For verify_connection a lost connection is a hiccup.",
        edit(
            "connector.py",
            _VERIFIED,
            "        except ConnectionFailed:\n            return True\n"
            "        except InvalidCredentials:\n            return False\n        return True\n",
        ),
    ),
    mutant(
        "disconnect-twice",
        "disconnect deletes what a second one looks for.",
        edit("connector.py", _GIVE, "        connection = self._connection\n        del self._connection\n"),
        edit("connector.py", _TAKE, _TAKE_ANY),
        edit("connector.py", _GUARD, _GUARD_ANY),
    ),
    mutant(
        "disconnect-without-connect",
        "disconnect looks for what connect has made.",
        edit("connector.py", _INIT, "        pass\n"),
        edit("connector.py", _TAKE, _TAKE_ANY),
        edit("connector.py", _GUARD, _GUARD_ANY),
    ),
    mutant(
        "connect-twice",
        "A second connect forgets the first connection without closing it.",
        without("connector.py", "        if previous is not None:\n            await previous.close()\n"),
    ),
    mutant(
        "connect-again",
        "An instance that was disconnected stays so.",
        edit("connector.py", _INIT, f"{_INIT}        self._is_over = False\n"),
        edit("connector.py", _GIVE, f"{_GIVE}        self._is_over = connection is not None\n"),
        edit(
            "connector.py",
            _CONNECT,
            '        if self._is_over:\n            raise ConnectionFailed("make a new instance")\n' + _CONNECT,
        ),
        also={"instance-survives-its-event-loop": "it connects again, in another event loop"},
    ),
    mutant(
        "use-after-disconnect",
        "After disconnect a call ends in an AttributeError.",
        edit("connector.py", _GIVE, '        connection = self.__dict__.pop("_connection", None)\n'),
        edit("connector.py", _TAKE, _TAKE_ANY),
    ),
    mutant(
        "use-before-connect",
        "Before connect a call ends in an AttributeError.",
        edit("connector.py", _INIT, "        pass\n"),
        edit("connector.py", _TAKE, _TAKE_ANY),
        edit("connector.py", _GIVE, '        connection = getattr(self, "_connection", None)\n'),
    ),
    mutant(
        "disconnect-closes-everything",
        "disconnect forgets the connection without closing it.",
        edit("connector.py", "            await connection.close()\n", "            del connection\n"),
        also={
            "connect-twice": "it ends with a disconnect, after which nothing may be open",
            "job-leaves-nothing-open": "so does that",
        },
    ),
    mutant(
        "refused-connect-leaves-nothing-open",
        "A connect that is refused leaves its connection to the garbage collector.",
        without("connector.py", "            await api.close()\n"),
    ),
    mutant(
        "instance-survives-its-event-loop",
        "The instance belongs to the event loop of its first connect.",
        edit("connector.py", _INIT, f"{_INIT}        self._loop: Any = None\n"),
        edit(
            "connector.py",
            _CONNECT,
            "        self._loop = self._loop or asyncio.get_running_loop()\n"
            "        if self._loop is not asyncio.get_running_loop():\n"
            '            raise RuntimeError("attached to a different loop")\n' + _CONNECT,
        ),
    ),
    mutant(
        "instances-share-nothing",
        "The connection is kept in the class.",
        edit("connector.py", f"    def __init__(self) -> None:\n{_INIT}", "    _connection: AcmeApi | None = None\n"),
        edit(
            "connector.py",
            _TAKE,
            _TAKE.replace("self._connection,", "self._connection,").replace(
                "previous, self._connection", "previous, AcmeConnector._connection"
            ),
        ),
        edit(
            "connector.py",
            _GIVE,
            _GIVE.replace("connection, self._connection", "connection, AcmeConnector._connection"),
        ),
    ),
)
