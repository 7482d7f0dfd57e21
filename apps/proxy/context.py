"""The context guard: whether a request fits a target's window, estimated before anything is paid for, and what is done where it does not.

Estimate: UTF-8 bytes of the body over bytes per token of the model's family, measured per target as answers come in
(``Health.calibrate``); images at a flat IMAGE_TOKENS. A request fits where estimate + output cap <= window; a window of 0 is not known and
takes everything. Where even one token per byte fits, nothing is estimated.

Where targets that fit exist, they are used, in every policy. Where none does: an output cap that the app did not set gives way first;
then ``trim`` leaves out the oldest turns (system prompt and last turn stay, a tool's call and its result never part), ``refuse`` refuses
with the numbers, and ``larger`` lets the provider with the largest window decide, unless the request is far too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from apps.proxy.dialects.openai import chat_extras
from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.contracts.usage import Tokens
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

STEP = "plan"
IMAGE_TOKENS = 1_600
"""Of one image: what the largest detail costs at OpenAI and Anthropic, rounded up."""
MIN_OUTPUT_TOKENS = 256
"""An output cap of ours is not lowered below this to make a request fit."""
FAR_TOO_LARGE = 2
"""An estimate may be this much too high; what does not fit even so is refused unseen."""
UNKNOWN_FAMILY = 3.0
_FAMILIES = (
    (("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "o1", "o3", "o4", "chatgpt"), 3.8),
    (("gpt-4", "gpt-3.5", "text-embedding"), 3.6),
    (("gemini", "gemma"), 3.6),
    (("claude",), 3.2),
    (("llama", "meta-llama", "mistral", "mixtral", "qwen", "deepseek", "phi", "command"), 3.3),
)
"""Bytes per token to begin with, by how the model's name begins: rather low, so that the estimate is rather high."""

_encode = msgspec.json.Encoder().encode


def family_bytes_per_token(model: str) -> float:
    """Before anything was measured. A path in front (``openai/gpt-4o``) does not count."""
    name = model.rpartition("/")[2].lower()
    for prefixes, ratio in _FAMILIES:
        if name.startswith(prefixes):
            return ratio
    return UNKNOWN_FAMILY


class Size(NamedTuple):
    """A request's size before a tokenizer has seen it. text: bytes; images: count."""

    text: int
    images: int

    @classmethod
    def of(cls, exchange: Exchange) -> Size:
        images = data = 0
        if exchange.input_bound != len(exchange.body):  # images were counted on top
            for message in exchange.payload.get("messages", ()):
                count, size = _images(message)
                images += count
                data += size
        return cls(max(len(exchange.body) - data, 0), images)

    def tokens(self, target: CompiledTarget) -> int:
        """Estimated input tokens at this target."""
        ratio = target.state.health.bytes_per_token or target.bytes_per_token
        return ceil(self.text / ratio) + self.images * IMAGE_TOKENS


class Guarded(NamedTuple):
    """fitting: in the order given. dropped: with why. trimmed: messages left out. note: what was done, empty where nothing was."""

    fitting: list[CompiledTarget]
    dropped: list[tuple[CompiledTarget, str]]
    trimmed: int = 0
    note: str = ""


def calibrate(exchange: Exchange, target: CompiledTarget, tokens: Tokens) -> None:
    """Learn from what the provider counted. Requests with images say nothing of text."""
    size = len(exchange.body)
    if exchange.input_bound == size:
        target.state.health.calibrate(size, tokens.input)


def fits_surely(exchange: Exchange, target: CompiledTarget) -> bool:
    return not target.window or exchange.input_bound + exchange.max_output <= target.window


def fitting(exchange: Exchange, targets: Sequence[CompiledTarget]) -> Guarded:
    """The targets that this request fits as it is; changes nothing."""
    if all(fits_surely(exchange, target) for target in targets) or _many(exchange):
        return Guarded(list(targets), [])
    return _fitting(targets, Size.of(exchange), exchange)


def guard(exchange: Exchange, policy: str, targets: Sequence[CompiledTarget]) -> Guarded | Refusal:
    """The targets that this request fits. May lower ``exchange.max_output`` where it is ours, and ``trim`` changes body and payload."""
    if policy == "off" or all(fits_surely(exchange, target) for target in targets) or _many(exchange):
        return Guarded(list(targets), [])
    size = Size.of(exchange)
    found = _fitting(targets, size, exchange)
    if found.fitting:
        return found
    widest = max(targets, key=lambda target: target.window - size.tokens(target))
    tokens = size.tokens(widest)
    room = widest.window - tokens
    if exchange.cap_injected and room >= MIN_OUTPUT_TOKENS:
        exchange.max_output = room
        return _fitting(targets, size, exchange)._replace(note=f"the route's output cap was lowered to {room} tokens to fit the window")
    if policy == "trim":
        trimmed = _trim(exchange, widest, tokens)
        if trimmed:
            note = f"{trimmed} messages of the oldest turns were left out to fit the window"
            after = _fitting(targets, Size.of(exchange), exchange)
            return after._replace(fitting=after.fitting or [widest], trimmed=trimmed, note=note)
    elif policy == "larger" and tokens / FAR_TOO_LARGE + _needed_output(exchange) <= widest.window:
        note = f"an estimated {tokens} input tokens fit no target's window: the largest one decides"
        widest_size = widest.window
        dropped = [(t, why) for t, why in found.dropped if t.window != widest_size]
        return Guarded([target for target in targets if target.window == widest_size], dropped, 0, note)
    return _too_long(exchange, policy, widest, tokens)


def _many(exchange: Exchange) -> bool:
    """Whether these are several inputs in one request: each has the window for itself, so their sum says nothing."""
    given = exchange.payload.get("input") if exchange.kind != "chat" else None
    return type(given) is list and len(given) > 1


def _needed_output(exchange: Exchange) -> int:
    return min(exchange.max_output, MIN_OUTPUT_TOKENS) if exchange.cap_injected else exchange.max_output


def _fitting(targets: Sequence[CompiledTarget], size: Size, exchange: Exchange) -> Guarded:
    fitting: list[CompiledTarget] = []
    dropped: list[tuple[CompiledTarget, str]] = []
    for target in targets:
        if target.window and (tokens := size.tokens(target)) + exchange.max_output > target.window:
            why = f"too small: an estimated {tokens} input and up to {exchange.max_output} output tokens, a window of {target.window}"
            dropped.append((target, why))
        else:
            fitting.append(target)
    return Guarded(fitting, dropped)


def _too_long(exchange: Exchange, policy: str, widest: CompiledTarget, tokens: int) -> Refusal:
    could = "Send fewer messages or ask for less output (max_tokens)."
    if policy == "trim":
        could = "The system prompt and the last turn alone are too long: shorten them, or ask for less output (max_tokens)."
    message = (
        f"This request does not fit: an estimated {tokens} input tokens and up to {exchange.max_output} output tokens, "
        f"and the largest window of this route is {widest.window} tokens ({widest.label}). {could}"
    )
    detail = {
        "estimated_input_tokens": tokens,
        "max_output_tokens": exchange.max_output,
        "window_tokens": widest.window,
        "target": widest.label,
    }
    return Refusal("context_length_exceeded", STEP, message, "messages" if exchange.kind == "chat" else "input", detail)


# --- trimming ---


def _trim(exchange: Exchange, widest: CompiledTarget, tokens: int) -> int:
    """Leaves out the oldest turns until the rest fits; how many messages that were. 0, and nothing changed, where that is not enough."""
    messages = exchange.payload.get("messages")
    if type(messages) is not list:
        return 0
    turns = turns_of(messages)
    ratio = widest.state.health.bytes_per_token or widest.bytes_per_token
    output = exchange.max_output
    if exchange.cap_injected:
        output = _needed_output(exchange)
    excess = tokens + output - widest.window
    gone: set[int] = set()
    for turn in turns[:-1]:
        if excess <= 0:
            break
        gone.update(turn)
        for at in turn:
            images, data = _images(messages[at])
            # the comma goes too; rounded down, so that what is left is never taken for less than it is
            excess -= int((len(_encode(messages[at])) - data + 1) / ratio) - 1 + images * IMAGE_TOKENS
    if not gone or excess > 0:
        return 0
    payload = {**exchange.payload, "messages": [message for at, message in enumerate(messages) if at not in gone]}
    rewrite(exchange, payload)
    if exchange.cap_injected:
        left = widest.window - Size.of(exchange).tokens(widest)
        exchange.max_output = max(min(exchange.max_output, left), 1)
    return len(gone)


def turns_of(messages: Sequence[Any]) -> list[list[int]]:
    """Positions of the messages by turn, without system and developer messages, oldest first.

    A turn starts with the app's words (role ``user``) and holds everything up to the next ones. Several ``user`` messages in a row are
    one turn. Turns that share a tool's call and its result are one.
    """
    turns: list[list[int]] = []
    call_turn: dict[str, int] = {}
    after_user = False
    for at, message in enumerate(messages):
        role = message.get("role") if type(message) is dict else None
        if role in ("system", "developer"):
            continue
        if not turns or (role == "user" and not after_user):
            turns.append([])
        after_user = role == "user"
        called_in = _turn_of_call(message, call_turn) if role in ("tool", "function") else None
        if called_in is not None and called_in < len(turns) - 1:
            for later in turns[called_in + 1 :]:
                turns[called_in].extend(later)
            del turns[called_in + 1 :]
            call_turn = {name: min(turn, called_in) for name, turn in call_turn.items()}
        turns[-1].append(at)
        for name in _calls(message):
            call_turn[name] = len(turns) - 1
    return turns


def _calls(message: Any) -> list[str]:
    """Ids of the tools called in a message; the old ``function_call`` goes by its name."""
    if type(message) is not dict:
        return []
    calls = message.get("tool_calls")
    found = [call["id"] for call in calls if type(call) is dict and type(call.get("id")) is str] if type(calls) is list else []
    function = message.get("function_call")
    if type(function) is dict and type(function.get("name")) is str:
        found.append(function["name"])
    return found


def _turn_of_call(message: dict[str, Any], call_turn: dict[str, int]) -> int | None:
    name = message.get("tool_call_id") if message.get("role") == "tool" else message.get("name")
    return call_turn.get(name) if type(name) is str else None


def _images(message: Any) -> tuple[int, int]:
    """(images in a message, bytes of those that lie inside it)."""
    content = message.get("content") if type(message) is dict else None
    count = size = 0
    if type(content) is list:
        for part in content:
            if type(part) is dict and part.get("type") == "image_url":
                count += 1
                image = part.get("image_url")
                url = image.get("url") if type(image) is dict else image
                if type(url) is str and url.startswith("data:"):
                    size += len(url)
    return count, size


def rewrite(exchange: Exchange, payload: dict[str, Any]) -> None:
    """Another body goes upstream than the app sent; the record keeps the app's own size and hash."""
    body = _encode(payload)
    exchange.payload = payload
    exchange.body = body
    exchange.input_bound = len(body) + (chat_extras(payload)[0] if exchange.kind == "chat" else 0)
