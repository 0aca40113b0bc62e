"""The page about health says what the code does."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from peft_studio.breaker import COOL_DOWN, FAILURES, LONGEST_COOL_DOWN
from peft_studio.cli.health import EXIT_CODES, health
from peft_studio.cli.health_view import HEADINGS
from peft_studio.health import Condition, Health
from peft_studio.health.monitor import CONCURRENCY, INTERVAL
from peft_studio.health.prober import PATIENCE, TIME_LIMIT

PAGE = (Path(__file__).parents[3] / "docs/reference/health.md").read_text(encoding="utf-8")


def test_each_condition_stands_there_with_its_exit_code() -> None:
    """In the order in which they count."""
    codes = {Condition.HEALTHY: 0, **EXIT_CODES}
    rows = re.findall(r"^\| `([a-z ]+)` \| .* \| (\d+).* \|$", PAGE, re.MULTILINE)

    assert [(str(condition), str(code)) for condition, code in codes.items()] == rows
    assert set(Condition) == set(codes)


def test_each_column_and_field_stands_there() -> None:
    """Of the table and of --json."""
    health = Health(name="acme", condition=Condition.HEALTHY, at=datetime.now(UTC))

    assert [] == [heading for heading in HEADINGS if f"| {heading} |" not in PAGE and heading != "NAME"]
    assert [] == [key for key in health.to_dict() if f"`{key}`" not in PAGE and key not in ("name", "at")]
    assert "  ".join(HEADINGS).split() == PAGE.split("```")[1].splitlines()[2].split()


def test_the_numbers_are_those_of_the_code() -> None:
    """That somebody may plan with."""
    options = {option.name: option.default for option in health.params}

    assert f"after {FAILURES} failures in a row, for {COOL_DOWN:.0f} s" in PAGE
    assert f"{LONGEST_COOL_DOWN:.0f} s at most" in PAGE
    assert f"waited for {PATIENCE:.0f} s or more" in PAGE
    assert f"interval={INTERVAL:.0f}, time_limit={TIME_LIMIT:.0f}, concurrency={CONCURRENCY}" in PAGE
    assert f"asking every {options['interval']:.0f} s" in PAGE
    assert f"for everything ({options['timeout']:.0f})" in PAGE
    assert TIME_LIMIT == options["timeout"]
