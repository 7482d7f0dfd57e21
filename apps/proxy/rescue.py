"""When a stream breaks off after the app has seen its beginning: may another target go on, and how is it asked to?

Three ways, the surest first:

prefill     the target goes on from a last assistant message that holds the text so far; its text is taken as it comes
regenerate  the same request again; what the app already has is skipped, as long as the new text says the same
ask         the target is shown the text so far and asked to repeat its last words and go on; only a repetition proves the seam

Nothing here sends anything: ``apps.proxy.splice`` makes one stream of both parts.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from apps.proxy.dialects.openai_wire import encode

if TYPE_CHECKING:
    from apps.proxy.dialects.openai_stream import OpenAIStream

Way = Literal["prefill", "regenerate", "ask"]

HOPELESS_TO_REGENERATE = 200
"""Characters after which a sampled answer is not expected to come out the same again."""
ANCHOR = 80
"""Characters, at most, that a target is asked to repeat."""
_BYTES_PER_TOKEN = 4
_ASKING = (
    "Your answer above was cut off by a failure of the connection. Finish it in the same language, style and format, as one seamless text. "
    "Begin by repeating its last words exactly as they are, and go on from there. "
    "Write no introduction, no apology and no comment. Its last words are:\n\n"
)
_PREFIX, _PARTIAL = {"prefix": True}, {"partial": True}
_IN_MESSAGE: dict[str, dict[str, bool]] = {
    "api.deepseek.com": _PREFIX,
    "api.mistral.ai": _PREFIX,
    "api.moonshot.ai": _PARTIAL,
    "api.moonshot.cn": _PARTIAL,
    "dashscope.aliyuncs.com": _PARTIAL,
    "dashscope-intl.aliyuncs.com": _PARTIAL,
    "api.anthropic.com": {},
    "openrouter.ai": {},
    "api.groq.com": {},
}
"""Hosted providers that continue a last assistant message, with what marks it there. Everybody else is taken for an engine of one's own
(vLLM, SGLang, llama.cpp), where two fields beside the messages say so; who does not know them ignores them."""
_ENGINE_FIELDS = {"continue_final_message": True, "add_generation_prompt": False}
_ECHOING = ("api.mistral.ai",)
"""Hosts that give a prefill back before they go on."""
_OWN_CAP_FIELD_HOSTS = ("api.openai.com", "openai.azure.com")
_GUIDED = (
    "guided_json",
    "guided_regex",
    "guided_grammar",
    "guided_choice",
    "structured_outputs",
    "grammar",
    "json_schema",
    "regex",
    "ebnf",
)
"""What engines call structured output beside ``response_format``."""


class Origin(Protocol):
    @property
    def host(self) -> str: ...


class Continues(Protocol):
    """What must be known of a target (``CompiledTarget``)."""

    @property
    def model(self) -> str: ...
    @property
    def prefill(self) -> bool: ...
    @property
    def translates(self) -> bool: ...
    @property
    def origin(self) -> Origin: ...


@dataclass(frozen=True, slots=True)
class Sofar:
    """What the app has been given of its answer, from one upstream or several.

    text, reasoning: of choice 0. pieces: events with text. safe: empty when the text may be cut and joined here; else why not.
    finished: a finish reason was given: nothing is missing but the end. created: as the first event spelled it.
    """

    text: str = ""
    reasoning: str = ""
    pieces: int = 0
    role: bool = False
    finished: bool = False
    id: str | None = None
    model: str | None = None
    created: object = None
    safe: str = ""

    @classmethod
    def of(cls, watch: OpenAIStream) -> Sofar | None:
        """None: too much was given to be kept, or it could not be read. Nobody can go on from there."""
        kept = watch.kept()
        if kept.too_large or kept.unreadable:
            return None
        finished = bool(kept.done)
        safe = ""
        if finished:
            safe = "it had already finished"
        elif any(index != 0 for index in kept.seen):
            safe = "it has several choices"
        elif kept.forbids:
            safe = f"it holds {kept.forbids}"
        elif watch.has_hole:
            safe = "an event of it could not be read"
        return cls(
            text="".join(kept.texts.get(0, ())),
            reasoning="".join(kept.reasoning.get(0, ())),
            pieces=kept.pieces,
            role=kept.role,
            finished=finished,
            id=kept.id,
            model=kept.model,
            created=kept.created,
            safe=safe,
        )

    @property
    def produced(self) -> int:
        """Tokens it took, about: an event carries at least one, and a token rarely more than four bytes."""
        return max(self.pieces, (len(self.text.encode()) + len(self.reasoning.encode())) // _BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Continuation:
    """How a target is asked to go on.

    body: for the upstream. max_output: the output cap in it, tokens; 0: none. added_input: upper bound of the input tokens beyond the
    app's own request. start: what the new text is expected to begin with (see ``apps.proxy.splice``). echoes: a prefill comes back first.
    """

    kind: Way
    body: bytes
    max_output: int
    added_input: int
    start: str
    echoes: bool = False


def why_not(payload: dict[str, Any], sofar: Sofar) -> str:
    """Why this answer cannot be continued by anybody; empty when it can."""
    if sofar.safe:
        return sofar.safe
    if payload.get("n") not in (None, 1):
        return "several choices were asked for"
    if payload.get("logprobs") or payload.get("top_logprobs"):
        return "log probabilities were asked for"
    if payload.get("modalities") not in (None, ["text"]):
        return "audio was asked for"
    return ""


def continuation(
    payload: dict[str, Any], sofar: Sofar, target: Continues, *, max_output: int = 0, tried: Collection[Way] = ()
) -> Continuation | None:
    """The surest way that this target has and that was not tried yet; None when there is none.

    payload: the app's request. max_output: output cap of one choice that holds where the request names none, tokens. tried: ways that
    ended in "diverged". Structured output is regenerated or not continued: only then all of it comes from one grammar.
    """
    if why_not(payload, sofar):
        return None
    text = sofar.text
    body = _plain_body(payload, target)
    cap_field = "max_completion_tokens" if target.origin.host.endswith(_OWN_CAP_FIELD_HOSTS) else "max_tokens"
    if not text:  # nothing of the answer itself was given: there is nothing to skip
        return None if "regenerate" in tried else _made("regenerate", body, cap_field, max_output, 0, 0, "")
    whole = _is_structured(payload)
    core = text.rstrip()
    before = _answer_before(payload["messages"])
    if target.prefill and not whole and core and before is not None and "prefill" not in tried:
        mark = {} if target.translates else _IN_MESSAGE.get(target.origin.host)
        message = {"role": "assistant", "content": before + core, **(mark or {})}
        asked = {**body, **(_ENGINE_FIELDS if mark is None else {}), "messages": [*_turns(payload["messages"]), message]}
        return _made(
            "prefill",
            asked,
            cap_field,
            max_output,
            sofar.produced,
            len(encode(message)) + 64,
            before + core,
            target.origin.host in _ECHOING,
        )
    if "regenerate" not in tried and (whole or len(text) <= HOPELESS_TO_REGENERATE or _is_repeatable(payload)):
        return _made("regenerate", body, cap_field, max_output, 0, 0, text)
    if not whole and core and before is not None and "ask" not in tried:
        anchor = _anchor(core)
        added = [{"role": "assistant", "content": before + core}, {"role": "user", "content": _ASKING + anchor}]
        produced = sofar.produced - len(anchor.encode()) // _BYTES_PER_TOKEN
        asked = {**body, "messages": [*_turns(payload["messages"]), *added]}
        return _made("ask", asked, cap_field, max_output, max(0, produced), len(encode(added)) + 64, anchor)
    return None


def _plain_body(payload: dict[str, Any], target: Continues) -> dict[str, Any]:
    options = payload.get("stream_options")
    return {**payload, "model": target.model, "stream": True, "stream_options": {**(options or {}), "include_usage": True}}


def _made(
    kind: Way, body: dict[str, Any], cap_field: str, max_output: int, produced: int, added: int, start: str, echoes: bool = False
) -> Continuation:
    """Caps lowered by what was already produced. What is left of the answer is at least its end: one token."""
    named = [name for name in ("max_completion_tokens", "max_tokens") if type(body.get(name)) is int]
    left = {name: max(1, body[name] - produced) for name in named}
    if not named and max_output:
        left = {cap_field: max(1, max_output - produced)}
    return Continuation(kind, encode({**body, **left}), max(left.values(), default=0), added, start, echoes)


def _is_structured(payload: dict[str, Any]) -> bool:
    response_format = payload.get("response_format")
    if response_format is not None and not (type(response_format) is dict and response_format.get("type") == "text"):
        return True
    return any(payload.get(name) for name in _GUIDED)


def _is_repeatable(payload: dict[str, Any]) -> bool:
    """The app asked for an answer that comes out the same again."""
    return payload.get("temperature") in (0, 0.0) or payload.get("seed") is not None or payload.get("top_k") == 1


def _answer_before(messages: list[Any]) -> str | None:
    """The beginning of the answer that the app itself gave as a last assistant message; None where it is no text."""
    last = messages[-1]
    if type(last) is not dict or last.get("role") != "assistant":
        return ""
    content = last.get("content")
    return content if type(content) is str and not last.get("tool_calls") else None


def _turns(messages: list[Any]) -> list[Any]:
    """The messages without the app's own beginning of the answer."""
    last = messages[-1]
    return messages[:-1] if type(last) is dict and last.get("role") == "assistant" else messages


def _anchor(core: str) -> str:
    """The last words of a text: short enough to be repeated, long enough to be known again."""
    tail = core[-ANCHOR:]
    if len(core) > ANCHOR:
        for at, character in enumerate(tail[: ANCHOR // 2]):
            if character.isspace():
                return tail[at:].lstrip()
    return tail.lstrip()
