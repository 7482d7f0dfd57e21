"""What a chat request can cost beyond its text: pictures, sound, files, a provider's own tools, hours of cache, hidden prompts.

Looked at only where something of it shows: a request of text and pictures without tools never comes here.
"""

from __future__ import annotations

import base64
import binascii
from math import ceil
from typing import TYPE_CHECKING, Any

from apps.proxy.bounds import Extras
from apps.proxy.dialects.openai import IMAGE_TOKENS, chat_extras
from apps.proxy.dialects.translation import Unsupported
from apps.proxy.operations.sound import READABLE, longest_seconds
from apps.proxy.operations.transcriptions import TOKENS_A_SECOND

if TYPE_CHECKING:
    from apps.proxy.caller import Caller
    from apps.proxy.exchange import Exchange

TOOL_TOKENS = 1_024
"""Of the prompt that a provider adds where tools are given, and for each tool of its own making: Anthropic's documented most is 735."""
HOUR_MARK = b'"1h"'
"""Stands in every request that asks for a cache to be kept for an hour."""
_SEARCHES = {"web_search": "web_search", "file_search": "file_search", "code_interpreter": "code_session"}
"""Tools of OpenAI's Responses -> what their calls are metered as."""
_TYPED = ("bash_", "text_editor_", "computer_", "memory_")
"""Tools that Anthropic has made and apps run: only their prompt is the provider's."""


def chat_demand(exchange: Exchange) -> Extras | None:
    """None where the bytes of its body and the images counted so far are all that it can cost. ``exchange.unbounded`` is set before."""
    payload, caller = exchange.payload, exchange.caller
    hidden = TOOL_TOKENS if payload.get("tools") or payload.get("functions") else 0
    dear = HOUR_MARK in exchange.request.body
    if not exchange.unbounded:
        return Extras(input=hidden, dear=dear) if hidden or dear else None
    if caller is not None and caller.own is not None:
        return _with_tools(caller, hidden, dear)
    found = _parts(payload, hidden, dear)
    found.unbounded = chat_extras({**payload, "messages": []})[1]
    return found


def _parts(payload: dict[str, Any], hidden: int, dear: bool) -> Extras:
    """Of the messages, everything that is no text."""
    tokens, uncounted = hidden, ""
    for message in payload.get("messages", ()):
        content = message.get("content") if type(message) is dict else None
        for part in content if type(content) is list else ():
            kind = part.get("type") if type(part) is dict else None
            if kind in ("text", "refusal"):
                continue
            if kind == "image_url":
                tokens += IMAGE_TOKENS
            elif kind == "input_audio":
                seconds = _seconds(part.get("input_audio"))
                dear = True
                if seconds is None:
                    uncounted = f"how long its sound plays cannot be read from it (readable are {READABLE})"
                else:
                    tokens += ceil(seconds) * TOKENS_A_SECOND
            else:
                uncounted = f"what is inside a message part of type {kind!r} cannot be counted"
    return Extras(input=tokens, uncounted=uncounted, dear=dear)


def _seconds(sound: Any) -> float | None:
    data = sound.get("data") if type(sound) is dict else None
    if type(data) is not str:
        return None
    try:
        return longest_seconds(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return None


def _with_tools(caller: Caller, hidden: int, dear: bool) -> Extras:
    """Of a request that only a provider of the app's own format can be told: bounded where all that makes it so are tools with a bound."""
    assert caller.own is not None
    asked = caller.asked
    given = asked.get("tools")
    tools = [tool for tool in given if type(tool) is dict] if type(given) is list else []
    apart = [tool for tool in tools if tool.get("type") not in (None, "function", "custom")]
    others = [tool for tool in tools if tool.get("type") in (None, "function", "custom")]
    plain = {name: value for name, value in asked.items() if name not in ("tools", "max_tool_calls")}
    if others:
        plain["tools"] = others
    unknown = Extras(unbounded=f"{caller.own.field} is not known to the proxy", dear=dear)
    if not apart:
        return unknown
    try:
        read = caller.front.read(plain).payload
    except Unsupported:
        return unknown
    inside = _parts(read, hidden, dear)
    meters: dict[str, int] = {}
    calls, uses = asked.get("max_tool_calls"), 0
    for tool in apart:
        kind = str(tool.get("type"))
        if kind.startswith(_TYPED):
            hidden += TOOL_TOKENS
            continue
        searched = kind.startswith(("web_search_", "web_fetch_")) and caller.front.name == "anthropic"
        most = tool.get("max_uses") if searched else calls
        meter = "web_search" if kind.startswith("web_search") else "" if searched else _SEARCHES.get(kind)
        if meter is None or (not searched and caller.front.name != "responses"):
            return Extras(unbounded=f"what the provider's tool {kind!r} costs is not known to the proxy", dear=dear)
        if type(most) is not int or most < 1:
            field = "max_uses" if searched else "max_tool_calls"
            return Extras(unbounded=f"the provider's tool {kind!r} may be used any number of times: set {field}", dear=dear)
        uses = uses + most if searched else max(uses, most)
        if meter:
            meters[meter] = meters.get(meter, 0) + most
    return Extras(
        input=inside.input + hidden + TOOL_TOKENS * len(apart),
        meters=meters,
        uncounted=inside.uncounted,
        rounds=1 + uses,
        dear=inside.dear,
    )
