"""The pivot as servers of OpenAI's format take it: nothing in it that only other formats have, and what became of that is named."""

from __future__ import annotations

from typing import Any

import pytest

from apps.proxy.dialects.anthropic import AnthropicFront
from apps.proxy.dialects.openai_plain import plain
from apps.proxy.dialects.translation import Unsupported

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
CALL = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def said(*messages: dict[str, Any], reasoning: bool = False, host: str = "vllm.test", **fields: Any) -> tuple[dict[str, Any], set[str]]:
    found, notes = plain({"model": "m", "messages": list(messages), **fields}, host=host, reasoning=reasoning)
    return found, {note.partition(":")[0] for note in notes}


def test_what_has_no_additions_stays_as_it_is() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look."}, IMAGE]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "seen"}]},
    ]
    found, notes = said(*messages, stop=["x"], max_tokens=5)
    assert found == {"model": "m", "messages": messages, "stop": ["x"], "max_tokens": 5}
    assert notes == set()


def test_additions_are_left_out_and_named() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    found, notes = said(
        {"role": "system", "content": [{"type": "text", "text": "Be brief.", **mark}]},
        {
            "role": "assistant",
            "content": "x",
            "reasoning_content": "Hm.",
            "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}],
            "tool_calls": [{**CALL, "signature": "gemini:x"}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "broke", "is_error": True, **mark},
        tools=[{"type": "function", "function": {"name": "look"}, **mark}],
        top_k=3,
    )
    assert found == {
        "model": "m",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "assistant", "content": "x", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "a", "content": "broke"},
        ],
        "tools": [{"type": "function", "function": {"name": "look"}}],
    }
    assert notes == {"cache_control", "thinking", "tool_calls", "is_error", "top_k"}


def test_pictures_that_tools_return_are_said_by_the_user_after_all_results() -> None:
    found, notes = said(
        {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "b"}]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "seen"}, IMAGE]},
        {"role": "tool", "tool_call_id": "b", "content": [IMAGE]},
        {"role": "user", "content": "And?"},
    )
    first, second, beside, last = found["messages"][1:]
    assert first["content"] == [{"type": "text", "text": "seen"}]
    assert [part["type"] for part in second["content"]] == ["text"]
    assert beside["role"] == "user" and beside["content"][1:] == [IMAGE, IMAGE]
    assert last == {"role": "user", "content": "And?"}
    assert notes == {"tool results"}
    found, _ = said({"role": "tool", "tool_call_id": "b", "content": [IMAGE]})
    assert [message["role"] for message in found["messages"]] == ["tool", "user"]


def test_documents_of_text_are_text_and_those_by_address_cannot_be_said() -> None:
    def file(**fields: str) -> dict[str, Any]:
        return {"role": "user", "content": [{"type": "file", "file": fields}]}

    found, notes = said(file(file_data="data:text/plain;base64,aGk=", filename="Plan"))
    assert found["messages"][0]["content"] == [{"type": "text", "text": "Plan:\n\nhi"}] and notes == set()
    pdf = file(file_data="data:application/pdf;base64,aGk=", filename="Plan")
    assert said(pdf)[0]["messages"] == [pdf]
    for refused in (file(file_url="https://example.com/a.pdf"), file(file_data="data:text/plain;base64,/w==")):
        with pytest.raises(Unsupported) as error:
            said(refused)
        assert error.value.field == "messages[0].content[0]"


@pytest.mark.parametrize(
    ("fields", "reasoning", "effort", "notes"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, True, "low", {"thinking"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 20000}}, True, "high", {"thinking"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, False, None, {"thinking"}),
        ({"thinking": {"type": "adaptive"}}, True, None, set()),
        ({"thinking": {"type": "disabled"}}, False, None, set()),
        ({"reasoning_effort": "low"}, True, "low", set()),
        ({"reasoning_effort": "low"}, False, None, {"reasoning_effort"}),
    ],
)
def test_thinking_is_an_effort_for_models_that_reason(fields: dict[str, Any], reasoning: bool, effort: str | None, notes: set[str]) -> None:
    found, named = said({"role": "user", "content": "x"}, reasoning=reasoning, **fields)
    assert (found.get("reasoning_effort"), named) == (effort, notes)
    assert "thinking" not in found


def test_openais_own_hosts_know_the_cap_by_its_newer_name() -> None:
    assert said({"role": "user", "content": "x"}, host="api.openai.com", max_tokens=5)[0]["max_completion_tokens"] == 5


def test_an_agents_request_is_one_that_openai_takes() -> None:
    """As coding agents write it: marks of caching, thinking, several results at once, a picture among them."""
    mark = {"cache_control": {"type": "ephemeral"}}
    body = {
        "model": "m",
        "max_tokens": 32000,
        "stream": True,
        "thinking": {"type": "adaptive"},
        "metadata": {"user_id": "user_1"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "system": [{"type": "text", "text": "You are an agent.", **mark}],
        "tools": [
            {"name": "Read", "description": "Reads.", "input_schema": {"type": "object", "properties": {}}, "eager_input_streaming": True}
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Look at a.png."}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                    {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a.png"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}],
                        **mark,
                    }
                ],
            },
        ],
    }
    asked = AnthropicFront().read(body)
    found, notes = plain(asked.payload, host="api.openai.com", reasoning=True)
    assert [message["role"] for message in found["messages"]] == ["system", "user", "assistant", "tool", "user"]
    assert set(found) == {"model", "messages", "max_completion_tokens", "stream", "tools", "user"}
    assert not any("cache_control" in str(message) for message in found["messages"])
    named = {note.partition(":")[0] for note in (*asked.approximated, *notes)}
    assert named == {"context_management", "tools[].eager_input_streaming", "cache_control", "thinking", "tool results"}


def test_metadata_is_told_to_openai_only_where_it_takes_it() -> None:
    for host, fields, kept in (
        ("api.openai.com", {}, False),
        ("api.openai.com", {"store": True}, True),
        ("team.openai.azure.com", {"store": False}, False),
        ("vllm.test", {}, True),
    ):
        found, notes = said({"role": "user", "content": "?"}, host=host, metadata={"team": "a"}, **fields)
        assert ("metadata" in found) is kept and ({"metadata"} == {note.partition(":")[0] for note in notes}) is not kept
