"""What is known of a Responses request that only its own format's providers can be told."""

from __future__ import annotations

import pytest

from apps.proxy.dialects.openai import chat_extras
from apps.proxy.dialects.responses import ResponsesFront
from apps.proxy.dialects.translation import Unsupported

OWN = {"model": "m", "input": "What is new?" * 9, "tools": [{"type": "web_search"}], "max_output_tokens": 7, "stream": True, "user": "u"}


def test_it_counts_words_and_says_what_decides() -> None:
    with pytest.raises(Unsupported):
        ResponsesFront().read(OWN)
    payload = ResponsesFront().outline(OWN).payload
    assert OWN["input"] in payload["messages"][0]["content"]
    assert (payload["model"], payload["stream"], payload["user"], payload["max_completion_tokens"]) == ("m", True, "u", 7)
    assert "web_search" in chat_extras(payload)[1], "its cost has no bound"


@pytest.mark.parametrize("odd", [{}, {"input": 7}, {"tools": "none"}, {"tools": [None, {"type": 1}]}, {"instructions": ["\ud800"]}])
def test_whatever_is_in_it(odd: dict[str, object]) -> None:
    assert ResponsesFront().outline({"model": "m", **odd}).payload["messages"]
