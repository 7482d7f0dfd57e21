"""The register of wire formats that the simulator speaks, and of the lists of models that each has. Nothing is scanned."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from apps.simulator import anthropic, azure, bedrock, cohere, gemini, ollama, openai, responses, vertex
from apps.simulator.access import by_key, by_signature, by_token
from apps.simulator.openai import ChatCall
from apps.simulator.wire import Asked, Format


def _chat(asked: Asked) -> ChatCall:
    return ChatCall(asked.body)


OPENAI = Format(
    name="openai",
    path=re.compile(r"(?:/openai)?/v1/chat/completions"),
    identity="chatcmpl-",
    call=_chat,
    body=openai.chat_body,
    events=openai.ChatEvents,
    admit=by_key,
    error_body=openai.error_body,
)
RESPONSES = Format(
    name="responses",
    path=responses.PATH,
    identity="resp_",
    call=responses.chat_call,
    body=responses.answer_body,
    events=responses.Events,
    admit=by_key,
    error_body=openai.error_body,
)
ANTHROPIC = Format(
    name="anthropic",
    path=anthropic.PATH,
    identity="msg_",
    call=anthropic.chat_call,
    body=anthropic.answer_body,
    events=anthropic.Events,
    admit=by_key,
    error_body=anthropic.error_body,
)
GEMINI = Format(
    name="gemini",
    path=gemini.PATH,
    identity="req-",
    call=gemini.chat_call,
    body=gemini.answer_body,
    events=gemini.Events,
    admit=by_key,
    error_body=gemini.error_body,
)
VERTEX = GEMINI._replace(name="vertex", path=vertex.PATH, call=vertex.chat_call, admit=by_token)
VERTEX_CLAUDE = ANTHROPIC._replace(name="vertex-claude", path=vertex.CLAUDE, call=vertex.claude_call, admit=by_token)
BEDROCK = Format(
    name="bedrock",
    path=bedrock.PATH,
    identity="req-",
    call=bedrock.chat_call,
    body=bedrock.answer_body,
    events=bedrock.Events,
    admit=by_signature,
    error_body=bedrock.error_body,
    error_headers=bedrock.error_headers,
    stream_headers=bedrock.STREAM,
)
COHERE = Format(
    name="cohere",
    path=cohere.PATH,
    identity="req-",
    call=cohere.chat_call,
    body=cohere.answer_body,
    events=cohere.Events,
    admit=by_key,
    error_body=cohere.error_body,
)
OLLAMA = Format(
    name="ollama",
    path=ollama.PATH,
    identity="req-",
    call=ollama.chat_call,
    body=ollama.answer_body,
    events=ollama.Events,
    admit=by_key,
    error_body=ollama.error_body,
    stream_headers=ollama.STREAM,
)
AZURE = Format(
    name="azure",
    path=azure.PATH,
    identity="chatcmpl-",
    call=azure.chat_call,
    body=azure.answer_body,
    events=azure.Events,
    admit=azure.admit,
    error_body=azure.error_body,
)
FORMATS = (OPENAI, RESPONSES, ANTHROPIC, GEMINI, VERTEX, VERTEX_CLAUDE, BEDROCK, COHERE, OLLAMA, AZURE)


def format_of(path: str) -> tuple[Format, re.Match[str]] | None:
    """Whose chat call this path is, and how its format's path matches it."""
    for form in FORMATS:
        match = form.path.fullmatch(path)
        if match is not None:
            return form, match
    return None


class Listing(NamedTuple):
    """A list of models. body: of the names and the time at which they were made."""

    form: Format
    body: Callable[[list[str], int], bytes]


_LISTINGS: dict[str, Listing] = {
    "/v1/models": Listing(OPENAI, openai.models_body),
    "/openai/v1/models": Listing(OPENAI, openai.models_body),
    "/openai/models": Listing(AZURE, openai.models_body),
    "/openai/deployments": Listing(AZURE, azure.models_body),
    "/v1beta/models": Listing(GEMINI, lambda names, created: gemini.models_body(names)),
    "/foundation-models": Listing(BEDROCK, lambda names, created: bedrock.models_body(names)),
    "/api/tags": Listing(OLLAMA, lambda names, created: ollama.models_body(names)),
}
_ANTHROPIC = Listing(ANTHROPIC, anthropic.models_body)
_COHERE = Listing(COHERE, lambda names, created: cohere.models_body(names))
_VERTEX = {
    "google": Listing(VERTEX, lambda names, created: vertex.models_body(names, "google")),
    "anthropic": Listing(VERTEX_CLAUDE, lambda names, created: vertex.models_body(names, "anthropic")),
}
_COHERES = re.compile(r"(?:^|&)(?:endpoint|page_size|default_only)=")


def listing_of(path: str, query: str, headers: dict[bytes, bytes]) -> Listing | None:
    """Three formats share ``/v1/models``: Anthropic's clients name their version, Cohere's ask by its own parameters."""
    if path == "/v1/models":
        if b"anthropic-version" in headers:
            return _ANTHROPIC
        if _COHERES.search(query):
            return _COHERE
    at_vertex = vertex.LIST.fullmatch(path)
    return _VERTEX[at_vertex["publisher"]] if at_vertex is not None else _LISTINGS.get(path)
