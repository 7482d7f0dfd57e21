"""A chat completion's messages as Gemini's ``contents``. Source: Google's reference of the Gemini API and of Vertex AI."""

from __future__ import annotations

from typing import Any

import msgspec

from apps.proxy.dialects.gemini_asked import Asking, choice_said, settings_said, tools_said
from apps.proxy.dialects.gemini_fields import MAKER
from apps.proxy.dialects.gemini_words import AUDIO_TYPES, SKIP_SIGNATURE, generation, media_type_of
from apps.proxy.dialects.translation import Payload, Unsupported

_decode = msgspec.json.Decoder().decode
_MESSAGE = frozenset({"role", "content", "cache_control", "name"})
_ASSISTANT = _MESSAGE | {
    "reasoning_content",
    "reasoning",
    "thinking_blocks",
    "tool_calls",
    "refusal",
    "function_call",
    "audio",
    "annotations",
}
_TOOL = _MESSAGE | {"tool_call_id", "is_error"}
_ADDRESSES = ("https://", "http://", "gs://")


def request(payload: Payload, model: str, *, vertex: bool) -> tuple[Payload, tuple[str, ...]]:
    """The body and what is approximated in it. Raises Unsupported with the pivot's path of what cannot be said."""
    asking = Asking(payload, model, vertex)
    making = _Making(asking)
    messages = payload.get("messages")
    if type(messages) is not list:
        raise Unsupported("messages", "messages must be a list")
    for number, message in enumerate(messages):
        if type(message) is not dict:
            raise Unsupported(f"messages[{number}]", f"messages[{number}] must be an object")
        making.message(message, f"messages[{number}]")
    body: Payload = {"contents": making.contents}
    if not making.contents:
        if not making.system:
            raise Unsupported("messages", "messages must have at least one message")
        body["contents"] = [{"role": "user", "parts": making.system}]
        asking.nearly("messages", "the system prompt is said by the user, as nobody else says anything")
    elif making.system:
        body["systemInstruction"] = {"role": "user", "parts": making.system}
    if config := settings_said(asking, making.details):
        body["generationConfig"] = config
    if tools := tools_said(asking):
        body["tools"] = [{"functionDeclarations": tools}]
        if chosen := choice_said(asking):
            body["toolConfig"] = {"functionCallingConfig": chosen}
    elif payload.get("tool_choice") not in (None, "auto", "none"):
        raise Unsupported("tool_choice", "tool_choice needs tools")
    if asking.tier is not None:
        body["serviceTier"] = asking.tier
    if asking.labels:
        body["labels"] = asking.labels
    return body, tuple(dict.fromkeys(asking.approximated))


class _Making:
    """The contents so far, and the names of the functions that were called."""

    def __init__(self, asking: Asking) -> None:
        self.contents: list[dict[str, Any]] = []
        self.system: list[dict[str, Any]] = []
        self.details: set[str] = set()
        """What was said of images' details."""
        self._asking = asking
        self._third = generation(asking.model) >= (3, 0)
        self._called: dict[str, str] = {}
        self._answers: list[dict[str, Any]] | None = None
        """The parts that answer the calls of the turn before, while nothing else has been said."""
        self._beside: list[dict[str, Any]] = []

    def message(self, message: dict[str, Any], field: str) -> None:
        role = message.get("role")
        if role == "tool":
            self._known(message, _TOOL, field)
            self._tool(message, field)
            return
        self._answers = None
        if role == "user":
            self._known(message, _MESSAGE, field)
            self._say("user", self._parts(message.get("content"), f"{field}.content"))
        elif role == "assistant":
            self._known(message, _ASSISTANT, field)
            self._assistant(message, field)
        elif role in ("system", "developer"):
            self._known(message, _MESSAGE, field)
            if self.contents:
                self._asking.nearly(field, "told before all other messages")
            self.system.extend(self._texts(message.get("content"), f"{field}.content"))
        else:
            raise Unsupported(f"{field}.role", f"{field}.role must be system, developer, user, assistant or tool")

    def _known(self, message: dict[str, Any], known: frozenset[str], field: str) -> None:
        if not known.issuperset(message):
            for name, value in message.items():
                if name not in known and value is not None:
                    raise Unsupported(f"{field}.{name}", f"{field}.{name} cannot be said to Gemini")
        if message.get("name") is not None:
            self._asking.nearly(f"{field}.name", "left out")
        if message.get("cache_control") is not None:
            self._asking.nearly("cache_control", "left out: the provider caches by itself")

    def _say(self, role: str, parts: list[dict[str, Any]]) -> None:
        if parts:
            self.contents.append({"role": role, "parts": parts})

    def _texts(self, content: Any, field: str) -> list[dict[str, Any]]:
        parts = self._parts(content, field)
        for number, part in enumerate(parts):
            if "text" not in part:
                raise Unsupported(f"{field}[{number}]", f"{field}[{number}] must be text")
        return parts

    def _parts(self, content: Any, field: str) -> list[dict[str, Any]]:
        if type(content) is str:
            return [{"text": content}]
        if content is None:
            return []
        if type(content) is not list:
            raise Unsupported(field, f"{field} must be text or a list of parts")
        parts = []
        for number, one in enumerate(content):
            if type(one) is dict and one.get("type") == "text" and type(one.get("text")) is str:
                parts.append({"text": one["text"]})
                if one.get("cache_control") is not None:
                    self._asking.nearly("cache_control", "left out: the provider caches by itself")
            else:
                parts.append(self._part(one, f"{field}[{number}]"))
        return parts

    def _part(self, part: Any, field: str) -> dict[str, Any]:
        kind = part.get("type") if type(part) is dict else None
        said = part.get(kind) if type(kind) is str else None
        if kind == "refusal" and type(said) is str:
            return {"text": said}
        if kind == "image_url" and type(said) is dict:
            return self._image(said, f"{field}.image_url")
        if kind == "input_audio" and type(said) is dict:
            form, data = said.get("format"), said.get("data")
            if type(data) is not str or type(form) is not str or form not in AUDIO_TYPES:
                known = ", ".join(AUDIO_TYPES)
                raise Unsupported(f"{field}.input_audio", f"{field}.input_audio must have data in base64 and a format of {known}")
            return {"inlineData": {"mimeType": AUDIO_TYPES[form], "data": data}}
        if kind == "file" and type(said) is dict:
            return _file(said, f"{field}.file")
        raise Unsupported(field, f"{field} must be a part of type text, image_url, input_audio or file")

    def _image(self, image: dict[str, Any], field: str) -> dict[str, Any]:
        detail = image.get("detail")
        if detail in ("low", "high"):
            self.details.add(detail)
        elif detail not in (None, "auto"):
            self._asking.nearly(f"{field}.detail", "the provider's own applies")
        address = image.get("url")
        if type(address) is str and address.startswith("data:"):
            return {"inlineData": _inline(address, f"{field}.url")}
        if type(address) is not str or not address.startswith(_ADDRESSES):
            raise Unsupported(f"{field}.url", f"{field}.url must be an https address or a data URL")
        media_type = image.get("format") or media_type_of(address)
        if type(media_type) is not str:
            media_type = "image/jpeg"
            self._asking.nearly(f"{field}.url", "its kind is not known by its address; said to be image/jpeg")
        return {"fileData": {"fileUri": address, "mimeType": media_type}}

    def _assistant(self, message: dict[str, Any], field: str) -> None:
        for name in ("function_call", "audio"):
            if message.get(name) is not None:
                raise Unsupported(f"{field}.{name}", f"{field}.{name} cannot be said to Gemini; function calls go into tool_calls")
        said = self._texts(message.get("content"), f"{field}.content")
        if type(message.get("refusal")) is str:
            said.append({"text": message["refusal"]})
        said = [part for part in said if part["text"]]
        thoughts, signature = self._thoughts(message, field)
        if signature:
            if said:
                said[-1]["thoughtSignature"] = signature
            else:
                said.append({"text": "", "thoughtSignature": signature})
        calls = message.get("tool_calls")
        if calls is not None and type(calls) is not list:
            raise Unsupported(f"{field}.tool_calls", f"{field}.tool_calls must be a list")
        made = [self._call(call, f"{field}.tool_calls[{number}]") for number, call in enumerate(calls or ())]
        if made and self._third and not any("thoughtSignature" in part for part in made):
            made[0]["thoughtSignature"] = SKIP_SIGNATURE
        self._say("model", [*thoughts, *said, *made] or [{"text": ""}])

    def _thoughts(self, message: dict[str, Any], field: str) -> tuple[list[dict[str, Any]], str]:
        """Parts of thinking, and the signature that belongs to the text. Another provider's signatures mean nothing to Gemini."""
        parts: list[dict[str, Any]] = []
        signature = ""
        blocks = message.get("thinking_blocks")
        for number, block in enumerate(blocks if type(blocks) is list else ()):
            if type(block) is not dict or block.get("type") not in ("thinking", "redacted_thinking"):
                raise Unsupported(f"{field}.thinking_blocks[{number}]", f"{field}.thinking_blocks[{number}] must be a block of thinking")
            words, own = block.get("thinking"), block.get("signature")
            own = own[len(MAKER) :] if type(own) is str and own.startswith(MAKER) else ""
            if type(words) is str and words:
                parts.append({"text": words, "thought": True})
                if own:
                    parts[-1]["thoughtSignature"] = own
            elif own:
                signature = own
            if not own:
                self._asking.nearly(f"{field}.thinking_blocks", "signatures of another provider are left out")
        if not parts:
            words = message.get("reasoning_content") or message.get("reasoning")
            if type(words) is str and words:
                parts.append({"text": words, "thought": True})
        return parts, signature

    def _call(self, call: Any, field: str) -> dict[str, Any]:
        function = call.get("function") if type(call) is dict else None
        if type(function) is not dict or type(function.get("name")) is not str or call.get("type", "function") != "function":
            raise Unsupported(field, f"{field} must be the call of a function")
        raw = function.get("arguments") or "{}"
        try:
            arguments = _decode(raw) if type(raw) is str else raw
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
            arguments = None
        if type(arguments) is not dict:
            raise Unsupported(f"{field}.function.arguments", f"{field}.function.arguments must be the JSON of an object")
        made: dict[str, Any] = {"name": function["name"], "args": arguments}
        identity = call.get("id")
        if type(identity) is str and identity:
            made["id"] = identity
            self._called[identity] = function["name"]
        part: dict[str, Any] = {"functionCall": made}
        signature = call.get("signature")
        if type(signature) is str and signature:
            part["thoughtSignature"] = signature
        return part

    def _tool(self, message: dict[str, Any], field: str) -> None:
        identity = message.get("tool_call_id")
        name = self._called.get(identity) if type(identity) is str else None
        if name is None:
            raise Unsupported(f"{field}.tool_call_id", f"{field}.tool_call_id is of no tool call before it")
        content = message.get("content")
        parts = self._parts(content, f"{field}.content")
        said = "".join(part["text"] for part in parts if "text" in part)
        answer: dict[str, Any] = {"id": identity, "name": name, "response": {"error": said} if message.get("is_error") else _response(said)}
        media = [part for part in parts if "text" not in part]
        if media and self._third:
            answer["parts"] = media
            media = []
        if self._answers is None:
            self._answers, self._beside = [], []
            self.contents.append({"role": "user", "parts": self._answers})
        # what answers the calls stands together, before what is given beside it
        self._answers.insert(len(self._answers) - len(self._beside), {"functionResponse": answer})
        if media:
            self._asking.nearly(f"{field}.content", "its media stand beside the tool's answer")
            self._beside.extend(media)
            self._answers.extend(media)


def _response(said: str) -> dict[str, Any]:
    """A tool's answer as the object that Gemini wants: a JSON object is one, all else stands under ``output``."""
    if said.lstrip().startswith("{"):
        try:
            found = _decode(said)
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
            found = None
        if type(found) is dict:
            return found
    return {"output": said}


def _inline(address: str, field: str) -> dict[str, str]:
    head, comma, data = address[5:].partition(",")
    media_type, *rest = head.split(";")
    if not comma or "base64" not in rest or not media_type:
        raise Unsupported(field, f"{field} must be data:<media type>;base64,<data>")
    return {"mimeType": media_type, "data": data}


def _file(file: dict[str, Any], field: str) -> dict[str, Any]:
    data, name = file.get("file_data"), file.get("filename")
    named = media_type_of(name) if type(name) is str else None
    if type(data) is str:
        if data.startswith("data:"):
            return {"inlineData": _inline(data, f"{field}.file_data")}
        if named is None:
            raise Unsupported(f"{field}.file_data", f"{field}.file_data must be a data URL, or the file's name must end as its kind does")
        return {"inlineData": {"mimeType": named, "data": data}}
    address = file.get("file_url") or file.get("file_id")
    if type(address) is not str or not address.startswith(_ADDRESSES):
        raise Unsupported(field, f"{field} must have file_data, or a file_url of https or gs: files kept by other providers cannot be read")
    media_type = file.get("format") or media_type_of(address) or named
    return {"fileData": {"fileUri": address, "mimeType": media_type} if type(media_type) is str else {"fileUri": address}}
