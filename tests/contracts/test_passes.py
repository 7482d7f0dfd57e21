"""A pass opens one key for one body for a minute, and nothing that is a pass no longer."""

from __future__ import annotations

import pytest

from apps.contracts.identifiers import uuid7
from apps.contracts.passes import CLOCKS_MS, LIFETIME_MS, new_pass, pass_opens
from apps.contracts.tokens import MAX_LENGTH

PEPPER, BODY, NOW = b"pepper", b'{"model": "chat"}', 1_790_000_000_000
KEY = str(uuid7())


def opens(token: str, *, pepper: bytes = PEPPER, body: bytes = BODY, at: int = NOW) -> str | None:
    return pass_opens(pepper, token.encode(), body=body, now_ms=at)


def test_a_pass_opens_its_key_for_its_body_for_a_minute() -> None:
    token = new_pass(PEPPER, key_id=KEY, body=BODY, now_ms=NOW)
    assert opens(token) == KEY and opens(token, at=NOW + LIFETIME_MS - 1) == KEY and len(token) < MAX_LENGTH
    assert opens(token, at=NOW - CLOCKS_MS) == KEY  # a proxy whose clock is a little behind
    assert opens(token, at=NOW + LIFETIME_MS) is None
    assert opens(token, body=BODY + b" ") is None and opens(token, pepper=b"another") is None


def test_a_pass_that_says_it_lasts_longer_is_refused() -> None:
    assert opens(new_pass(PEPPER, key_id=KEY, body=BODY, now_ms=NOW + CLOCKS_MS + 1)) is None


@pytest.mark.parametrize("part", range(3))
def test_a_pass_that_was_changed_anywhere_opens_nothing(part: int) -> None:
    parts = new_pass(PEPPER, key_id=KEY, body=BODY, now_ms=NOW).removeprefix("bkpass-").split("-")
    parts[part] = parts[part][:-1] + ("1" if parts[part][-1] != "1" else "2")
    assert opens("bkpass-" + "-".join(parts)) is None


@pytest.mark.parametrize(
    "token", ["", "bkpass-", "bkpass-a-b-c", "bkpass---", "bk-abcdefghij-secret", "bkpass-" + "0" * 32 + "-1-" + "é" * 64]
)
def test_what_is_no_pass_opens_nothing(token: str) -> None:
    assert opens(token) is None
