"""Answers that come out the same again, and answers that go on from a beginning."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from apps.simulator.harness import SimulatorServer
from apps.simulator.openai import LAST_WORDS

QUESTION = {"role": "user", "content": "Tell me of the sea."}


def ask(client: httpx.Client, *messages: dict[str, Any], **more: Any) -> tuple[str, str, int]:
    """(text, finish reason, completion tokens)."""
    answer = client.post("/chat/completions", json={"model": "m", "messages": list(messages), **more})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    choice = body["choices"][0]
    return choice["message"]["content"], choice["finish_reason"], body["usage"]["completion_tokens"]


@pytest.mark.parametrize("settled", [{"temperature": 0}, {"seed": 3}, {"top_k": 1}])
def test_the_same_question_has_the_same_answer_everywhere(client: httpx.Client, settled: dict[str, Any]) -> None:
    first = ask(client, QUESTION, **settled)
    assert ask(client, QUESTION, **settled) == first
    with SimulatorServer("sim-other", seed=99) as other, httpx.Client(base_url=other.base_url, timeout=60) as elsewhere:
        assert ask(elsewhere, QUESTION, **settled) == first
        assert ask(elsewhere, QUESTION)[0] != ask(client, QUESTION)[0]
    assert ask(client, {"role": "user", "content": "And of the sky?"}, **settled) != first


def test_a_seed_is_part_of_the_question(client: httpx.Client) -> None:
    assert ask(client, QUESTION, seed=1) != ask(client, QUESTION, seed=2)


@pytest.mark.parametrize("limit", [{}, {"max_tokens": 12}])
@pytest.mark.parametrize("length", [1, 7, 11, 12, 31])
def test_a_beginning_is_gone_on_from(client: httpx.Client, length: int, limit: dict[str, int]) -> None:
    whole, reason, tokens = ask(client, QUESTION, temperature=0, **limit)
    begun = whole[:length].rstrip()
    used = -(-len(begun) // 4)
    rest = {name: value - used for name, value in limit.items()}
    message = {"role": "assistant", "content": begun}
    asked = ask(client, QUESTION, message, temperature=0, continue_final_message=True, add_generation_prompt=False, **rest)
    assert asked == (whole[len(begun) :], reason, tokens - used)
    assert ask(client, QUESTION, {**message, "prefix": True}, temperature=0, **rest) == asked
    assert ask(client, QUESTION, message, temperature=0, **rest)[0] != whole[len(begun) :], "unmarked, it is one turn more"


def test_an_answer_of_chance_is_gone_on_from_where_it_stands(client: httpx.Client) -> None:
    whole, _, _ = ask(client, QUESTION, bulkhead_sim={"output_tokens": 60})
    begun = {"role": "assistant", "content": whole[:120].rstrip()}
    rest, _, tokens = ask(client, QUESTION, begun, continue_final_message=True, bulkhead_sim={"output_tokens": 60})
    assert begun["content"] + rest == whole and tokens == 30


def test_asked_to_repeat_its_last_words_it_goes_on_after_them(client: httpx.Client) -> None:
    whole, _, _ = ask(client, QUESTION, temperature=0, bulkhead_sim={"output_tokens": 80})
    begun = whole[:200].rstrip()
    turns = [{"role": "assistant", "content": begun}, {"role": "user", "content": f"Go on. {LAST_WORDS}{begun[-40:]}"}]
    text, _, _ = ask(client, QUESTION, *turns, temperature=0, bulkhead_sim={"output_tokens": 80})
    assert text == begun[-40:] + whole[len(begun) :]


def test_one_that_does_not_go_on_begins_anew(sim: SimulatorServer, client: httpx.Client) -> None:
    whole, _, _ = ask(client, QUESTION, temperature=0)
    sim.control(server={"continues": False})
    begun = {"role": "assistant", "content": whole[:20].rstrip()}
    text, _, tokens = ask(client, QUESTION, begun, temperature=0, continue_final_message=True)
    assert tokens == 16 and not (whole.endswith(text) or text == whole)


@pytest.mark.parametrize(
    ("spelling", "header", "value"),
    [("seconds", "retry-after", "2.5"), ("ms", "retry-after-ms", "2500"), ("azure", "x-ms-retry-after-ms", "2500")],
)
def test_spellings_of_retry_after(client: httpx.Client, spelling: str, header: str, value: str) -> None:
    fault = {"bulkhead_sim": {"fault": f"429:retry-after=2.5,spelling={spelling}"}}
    answer = client.post("/chat/completions", json={"model": "m", "messages": [QUESTION], **fault})
    assert (answer.status_code, answer.headers[header]) == (429, value)


def test_retry_after_as_a_date(client: httpx.Client) -> None:
    fault = {"bulkhead_sim": {"fault": "503:retry-after=30,spelling=date"}}
    answer = client.post("/chat/completions", json={"model": "m", "messages": [QUESTION], **fault})
    served = parsedate_to_datetime(answer.headers["retry-after"])
    assert served.tzinfo is not None and served.timestamp() > 0


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("400:body=context_length", 400, "context_length_exceeded"),
        ("400:body=content_filter", 400, "content_filter"),
        ("402", 402, "insufficient_quota"),
        ("413", 413, "request_too_large"),
    ],
)
def test_error_codes(client: httpx.Client, fault: str, status: int, code: str) -> None:
    answer = client.post("/chat/completions", json={"model": f"sim-fault/{fault}", "messages": [QUESTION]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
