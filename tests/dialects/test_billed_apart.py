"""What providers bill apart from plain tokens, as each format says it: an hour's cache, searches, containers."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from apps.contracts.usage import Tokens
from apps.proxy.dialects.anthropic_wire import WireUsage, pivot_usage, tokens_of
from apps.proxy.dialects.bedrock_wire import WireUsage as BedrockUsage
from apps.proxy.dialects.bedrock_wire import pivot_usage as bedrock_usage
from apps.proxy.dialects.openai_wire import Usage
from apps.proxy.dialects.openai_wire import tokens_of as openai_tokens
from apps.proxy.dialects.responses_watch import native_answer

ANTHROPIC = {
    "input_tokens": 5,
    "cache_creation_input_tokens": 148,
    "cache_read_input_tokens": 0,
    "output_tokens": 9,
    "cache_creation": {"ephemeral_5m_input_tokens": 48, "ephemeral_1h_input_tokens": 100},
    "server_tool_use": {"web_search_requests": 2},
}


def through(usage: dict[str, Any]) -> Tokens:
    return openai_tokens(msgspec.convert(usage, Usage))


def test_anthropic_tells_hours_and_searches() -> None:
    usage = msgspec.convert(ANTHROPIC, WireUsage)
    tokens = tokens_of(usage)
    assert tokens.details is not None
    assert (tokens.cache_write, tokens.details.cache_write_hour, tokens.details.meters) == (148, 100, {"web_search": 2})
    details = through(pivot_usage(usage)).details
    assert details is not None and details.cache_write_hour == 100, "to apps of other formats, too"


def test_five_minutes_and_no_search_say_nothing_more() -> None:
    plain = {**ANTHROPIC, "cache_creation": {"ephemeral_1h_input_tokens": 0}, "server_tool_use": None}
    usage = msgspec.convert(plain, WireUsage)
    assert tokens_of(usage).details is None and "cache_write_hour_tokens" not in pivot_usage(usage)["prompt_tokens_details"]


def test_bedrock_tells_hours_by_their_time_to_live() -> None:
    said = {
        "inputTokens": 5,
        "outputTokens": 1,
        "cacheWriteInputTokens": 30,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 20}, {"ttl": "5m"}],
    }
    details = through(bedrock_usage(msgspec.convert(said, BedrockUsage))).details
    assert details is not None and details.cache_write_hour == 20


def test_responses_count_searches_not_pages_and_containers_once() -> None:
    output = [
        {"type": "web_search_call", "action": {"type": "search", "query": "moon"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},
        {"type": "web_search_call"},
        {"type": "file_search_call"},
        {"type": "code_interpreter_call", "container_id": "c-1"},
        {"type": "code_interpreter_call", "container_id": "c-1"},
        {"type": "message", "role": "assistant", "content": []},
    ]
    body = {"object": "response", "status": "completed", "output": output, "usage": {"input_tokens": 3, "output_tokens": 4}}
    answer = native_answer(json.dumps(body).encode())
    assert answer is not None and answer.tokens is not None and answer.tokens.details is not None
    assert answer.tokens.details.meters == {"web_search": 2, "file_search": 1, "code_session": 1}
