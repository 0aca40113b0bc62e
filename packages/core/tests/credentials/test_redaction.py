"""What this process says, without the secrets that it uses."""

from __future__ import annotations

import base64
import gc
import io
import json
import logging
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote, quote_plus

import pytest

from peft_studio import JobEvent, Problem
from peft_studio.redaction import hold, mask, redacted
from peft_studio.redaction.errors import Redacted, redacted_error
from peft_studio.redaction.logs import RedactingFilter
from peft_studio.redaction.masking import Mask
from peft_studio.secret import Secret

TEXT = 'sk/canary+"0123?&ü'
FORMS = {
    "plain": TEXT,
    "URL": quote(TEXT, safe=""),
    "URL, lower case": re.sub("%..", lambda escape: escape[0].lower(), quote(TEXT, safe="")),
    "path": quote(TEXT),
    "query": quote_plus(TEXT),
    "JSON": json.dumps(TEXT)[1:-1],
    "JSON of people": json.dumps(TEXT, ensure_ascii=False)[1:-1],
    "JSON with \\/": json.dumps(TEXT)[1:-1].replace("/", "\\/"),
    "repr": repr(TEXT)[1:-1],
    "HTML": TEXT.replace("&", "&amp;").replace('"', "&quot;"),
    "base64": base64.b64encode(TEXT.encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(TEXT.encode()).decode().rstrip("="),
    "base64 in a URL": quote(base64.b64encode(TEXT.encode()).decode(), safe=""),
}


@pytest.fixture
def held() -> Secret:
    """A secret that this process uses while the test runs."""
    secret = Secret(TEXT)
    hold([secret])
    return secret


def shown(error: BaseException) -> str:
    """What a traceback shows, and the texts that a program can ask for."""
    texts = [*traceback.format_exception(error)]
    chain: list[BaseException] = [error]
    while chain:
        each = chain.pop()
        texts += [str(each), repr(each), repr(each.args), repr(vars(each))]
        chain += [next_ for next_ in (each.__cause__, each.__context__) if next_ is not None]
        chain += each.exceptions if isinstance(each, BaseExceptionGroup) else []
    return "\n".join(texts)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_is_masked(form: str) -> None:
    """In the middle of a text; what stands around it stays."""
    assert "key=*** end" == Mask([TEXT])(f"key={form} end")


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "user:"])
def test_base64_of_something_longer_is_masked(user: str) -> None:
    """Such as that of a user and a password: whatever stands before it, no more than a letter of it remains."""
    password = "0123456789abcdef"
    masked = Mask([password])(base64.b64encode(f"{user}{password}!".encode()).decode())

    assert "***" in masked
    assert len(masked) <= len(base64.b64encode(user.encode())) + len("***") + 4


def test_lines_of_a_long_secret_are_masked_one_by_one() -> None:
    """A private key is often shown line by line."""
    key = "-----BEGIN-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQ\n-----END-----\n"

    assert "first *** then ***" == Mask([key])("first MIIEvQIBADANBg then kqhkiG9w0BAQ")


def test_short_values_stay() -> None:
    """Less than four characters would mask half of the words of every sentence."""
    assert "abc a-***" == Mask(["abc", "abcd", ""])("abc a-abcd")


def test_two_who_know_one_secret_count_twice() -> None:
    """It is masked until both have gone."""
    known = Mask(["secret-1", "secret-1"])
    known.discard("secret-1")
    assert "***" == known("secret-1")
    known.discard("secret-1")
    assert "secret-1" == known("secret-1")
    assert not known


def test_a_secret_is_masked_as_long_as_somebody_holds_it() -> None:
    """Who embeds the core for many users does not pile up their keys."""
    secret, other = Secret("sk-transient"), Secret("sk-transient")
    hold([secret, secret, other])
    assert 2 == mask._counts["sk-transient"], "once for each, however often it is given"
    del secret
    gc.collect()
    assert "***" == mask("sk-transient")
    del other
    gc.collect()
    assert "sk-transient" == mask("sk-transient")


def test_texts_in_data_are_masked_at_any_depth(held: Secret) -> None:
    """Events, problems, lists, mappings and bytes; numbers and times stay what they are."""
    event = JobEvent(sequence=1, time=datetime.now(UTC), type="log", data={"message": TEXT, "deep": [{TEXT: 1}]})

    assert {"message": "***", "deep": [{"***": 1}]} == redacted(event).data
    assert (1, event.time) == (redacted(event).sequence, redacted(event).time)
    assert "***" == redacted(Problem(message=TEXT)).message
    assert b"a *** b" == redacted(f"a {TEXT} b".encode())
    assert ("***", 5) == redacted((TEXT, 5))


# Errors.


class Talkative(Exception):
    """Makes its text anew each time, of what cannot be masked."""

    def __str__(self) -> str:
        return f"key {TEXT}"


def raised() -> BaseException:
    """An error with the secret everywhere an error has room for one."""
    try:
        try:
            try:
                {}[TEXT]
            except KeyError:
                json.loads(f'{{"key": "{TEXT}')
        except json.JSONDecodeError as error:
            error.add_note(f"note {TEXT}")
            raise FileNotFoundError(2, "no such file", f"/tmp/{TEXT}") from error
    except FileNotFoundError as error:
        error.response = {"body": [TEXT]}  # type: ignore[attr-defined]
        return ExceptionGroup(f"group {TEXT}", [error, ValueError(TEXT), Talkative()])


def test_an_error_is_masked_with_its_chain_notes_and_members(held: Secret) -> None:
    """Arguments, attributes, notes, causes, contexts and groups; kinds and tracebacks stay."""
    error = redacted_error(raised())

    assert TEXT not in shown(error)
    assert [form for form in FORMS.values() if form in shown(error)] == []
    assert isinstance(error, ExceptionGroup)
    missing, value, talkative = error.exceptions
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(missing.__cause__, json.JSONDecodeError)
    assert isinstance(missing.__cause__.__context__, KeyError)
    assert "test_redaction.py" in "".join(traceback.format_exception(missing))
    assert ValueError is type(value)
    assert Redacted is type(talkative)
    assert str(talkative).endswith("Talkative: key ***")


def test_a_cause_is_masked_that_is_no_context(held: Secret) -> None:
    """`raise … from` names what nobody was handling."""
    error = ValueError("plain")
    error.__cause__ = KeyError(TEXT)

    assert TEXT not in shown(redacted_error(error))
    assert error.__cause__ is not None
    assert ("***",) == error.__cause__.args


def test_an_error_without_a_secret_is_left_alone(held: Secret) -> None:
    """The same object, with the same texts; one in a circle comes to an end."""
    error = ValueError("plain", {"a": 1})
    error.__context__ = LookupError("other")
    error.__context__.__context__ = error

    assert redacted_error(error) is error
    assert ("plain", {"a": 1}) == error.args
    assert TEXT not in shown(redacted_error(ValueError(TEXT))), "while there is one to be masked"


def test_an_error_that_cannot_be_shown_does_not_stop_anything(held: Secret) -> None:
    """Its own words fail; a stand-in tells its kind."""

    class Broken(Exception):
        def __repr__(self) -> str:
            raise RuntimeError(TEXT)

    assert TEXT not in f"{redacted_error(Broken('x'))}"


# Logs.


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a handler of the root logger writes, with the standard formatter."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    logging.getLogger().addHandler(handler)
    yield text
    logging.getLogger().removeHandler(handler)


def test_every_logger_is_masked(held: Secret, log: io.StringIO) -> None:
    """Also one that has nothing to do with us, in messages and arguments of any kind."""
    logger = logging.getLogger("some.other.library")
    logger.error("key %s", TEXT)
    logger.error("key %(key)s", {"key": quote(TEXT, safe="")})
    logger.error(f"key {TEXT}")  # noqa: G004
    logger.error("key %s", [TEXT])
    logger.error(ValueError(TEXT))
    logger.error("no key, %d of %s", 5, "all")

    lines = log.getvalue().splitlines()
    assert ["ERROR some.other.library key ***"] * 3 == lines[:3]
    assert "ERROR some.other.library key ['***']" == lines[3]
    assert ["ERROR some.other.library ***", "ERROR some.other.library no key, 5 of all"] == lines[4:]


def test_tracebacks_are_masked(held: Secret, log: io.StringIO) -> None:
    """With the chain, the notes and the stack; one without a secret is left to whoever formats it."""
    logger = logging.getLogger("some.other.library")
    try:
        raise raised()
    except ExceptionGroup:
        logger.exception("failed", stack_info=True)
    try:
        int("plain")
    except ValueError:
        logger.exception("failed too")

    assert TEXT not in log.getvalue()
    assert [] == [form for form in FORMS.values() if form in log.getvalue()]
    assert "FileNotFoundError: [Errno 2] no such file" in log.getvalue()
    assert "ValueError: invalid literal" in log.getvalue()


def test_what_a_record_holds_beside_its_message_is_masked(held: Secret) -> None:
    """Arguments that the message does not show, and the stack: some formatters write them."""
    record = logging.getLogger("x").makeRecord(
        "x", 40, "f", 1, "%(a)s", ({"a": 1, "key": TEXT},), None, sinfo=f"Stack:\n  call({TEXT!r})"
    )

    assert ("1", "Stack:\n  call('***')") == (record.getMessage(), record.stack_info)
    assert TEXT not in repr(vars(record))


def test_a_message_that_cannot_be_formatted_is_masked(
    held: Secret, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logging complains on stderr, with the arguments."""
    logging.getLogger("x").error("%d", TEXT)

    assert TEXT not in log.getvalue() + capsys.readouterr().err


def test_a_filter_masks_what_is_added_to_records(held: Secret) -> None:
    """`extra` comes after the record is made; a handler that writes it wants the filter."""
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append  # type: ignore[method-assign]
    handler.addFilter(RedactingFilter())
    logger = logging.getLogger("extra")
    logger.addHandler(handler)
    logger.error("plain", extra={"request": {"key": TEXT}, "number": 5})
    logger.removeHandler(handler)

    assert ({"key": "***"}, 5) == (vars(seen[0])["request"], vars(seen[0])["number"])


def test_records_are_untouched_while_there_is_no_secret() -> None:
    """Arguments stay arguments, also after secrets have been there; in a program that holds no other secret."""
    program = (
        "import gc, logging\n"
        "from peft_studio.redaction import hold\n"
        "from peft_studio.secret import Secret\n"
        "def record(): return logging.getLogger('x').makeRecord('x', 40, 'f', 1, '%s', ('sk-canary-1',), None)\n"
        "key = Secret('sk-canary-1')\n"
        "hold([key])\n"
        "print(record().getMessage())\n"
        "del key; gc.collect()\n"
        "print(record().msg, record().args)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "***\n%s ('sk-canary-1',)\n" == done.stdout


def test_a_factory_of_the_program_is_asked() -> None:
    """Ours goes before, whoever came first, and is put back if it was replaced."""
    program = (
        "import logging\n"
        "from peft_studio.redaction import hold\n"
        "from peft_studio.secret import Secret\n"
        "class Own(logging.LogRecord): pass\n"
        "keys = [Secret('sk-canary-1'), Secret('sk-canary-2')]\n"
        "hold(keys[:1])\n"
        "logging.setLogRecordFactory(Own)\n"
        "hold(keys[1:])\n"
        "record = logging.getLogger('x').makeRecord('x', 40, 'f', 1, 'sk-canary-1 sk-canary-2', (), None)\n"
        "print(type(record).__name__, record.getMessage())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "Own *** ***\n" == done.stdout


# Crashes.


@pytest.mark.parametrize(
    "crash",
    [
        "raise ValueError(KEY)",
        "import threading; t = threading.Thread(target=lambda: {}[KEY]); t.start(); t.join()",
        "class Bad:\n    def __del__(self): raise ValueError(KEY)\nBad()",
        """
import asyncio, gc
async def bad(): raise ValueError(KEY)
async def main():
    task = asyncio.create_task(bad())
    await asyncio.sleep(0)
asyncio.run(main())
gc.collect()""",
    ],
    ids=["program", "thread", "del", "task"],
)
def test_reports_of_crashes_are_masked(crash: str) -> None:
    """In a program that serves one person; the report is there all the same."""
    program = (
        "import sys\n"
        "from peft_studio.redaction import hold, keep_until_the_end\n"
        "from peft_studio.secret import Secret\n"
        "keep_until_the_end(); keep_until_the_end()\n"
        "KEY = 'sk-canary-' + '1'\n"
        "hold([Secret(KEY)])\n"
        f"{crash}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "sk-canary-1" not in done.stdout + done.stderr
    assert "***" in done.stderr
    assert "Error: " in done.stderr
