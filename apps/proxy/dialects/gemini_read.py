"""An app's ``generateContent`` request as a chat completion's. Source: Google's reference of the Gemini API."""

from __future__ import annotations

from collections import deque
from typing import Any

from apps.proxy.dialects.gemini_fields import MAKER, base64_text, compact, fields, listed, names, text, unwrapped
from apps.proxy.dialects.gemini_settings import settings_of, settings_read, tool_config_read, tools_read
from apps.proxy.dialects.gemini_words import audio_format, media_type_of
from apps.proxy.dialects.translation import Asked, Payload, Unsupported

REQUEST = names(
    "contents",
    "systemInstruction",
    "generationConfig",
    "tools",
    "toolConfig",
    "safetySettings",
    "labels",
    "serviceTier",
    "store",
    "model",
)
_CONTENT = names("role", "parts")
PART = names("text", "thought", "thoughtSignature", "inlineData", "fileData", "functionCall", "functionResponse", "mediaResolution")
_BLOB = names("mimeType", "data", "displayName")
_FILE = names("mimeType", "fileUri", "displayName")
_CALL = names("id", "name", "args")
_RESPONSE = names("id", "name", "response", "parts", "willContinue", "scheduling")
_LEVEL = names("level")
_TIERS = {"standard": "default", "flex": "flex", "priority": "priority", "unspecified": None, "service_tier_unspecified": None}
_DETAILS = {"MEDIA_RESOLUTION_LOW": "low", "MEDIA_RESOLUTION_HIGH": "high"}
_SERVER_PART = "is a part that only Google's own models and tools read"


def read(body: Payload) -> Asked:
    """Raises Unsupported with the app's own path of what is wrong or what chat completions have no word for."""
    if type(body) is not dict:
        raise Unsupported("", "the body must be an object")
    if "generateContentRequest" in body:  # of ``countTokens``, where more than contents counts
        inner = body["generateContentRequest"]
        return read({key: value for key, value in inner.items() if key != "model"} if type(inner) is dict else inner)
    given = fields(body, REQUEST, "", "is not known, or is kept by Google alone and cannot be said to other providers")
    reading = _Reading()
    if "systemInstruction" in given:
        reading.system(given["systemInstruction"])
    settings = settings_of(given.get("generationConfig"))
    if "mediaResolution" in settings:
        reading.media_resolution(settings["mediaResolution"], "generationConfig.mediaResolution")
    contents = given.get("contents")
    for number_, content in enumerate([{"parts": [{"text": contents}]}] if type(contents) is str else listed(contents, "contents")):
        reading.content(content, f"contents[{number_}]")
    if all(message["role"] == "system" for message in reading.messages):
        raise Unsupported("contents", "contents must have at least one content")
    payload: Payload = {"messages": reading.messages}
    settings_read(settings, payload, reading.nearly)
    declared = tools_read(given["tools"], payload, reading.nearly) if "tools" in given else []
    if "toolConfig" in given:
        tool_config_read(given["toolConfig"], declared, payload, reading.nearly)
    if "safetySettings" in given:
        reading.nearly("safetySettings", "the provider's own apply")
    if "labels" in given:
        labels = given["labels"]
        if type(labels) is not dict or any(type(value) is not str for value in labels.values()):
            raise Unsupported("labels", "labels must be an object of texts")
        payload["metadata"] = labels
    if "serviceTier" in given:
        tier = text(given["serviceTier"], "serviceTier").lower()
        if tier not in _TIERS:
            raise Unsupported("serviceTier", "serviceTier must be standard, flex or priority")
        if _TIERS[tier] is not None:
            payload["service_tier"] = _TIERS[tier]
    if given.get("store"):
        reading.nearly("store", "the provider's own rule applies")
    return Asked(payload, tuple(reading.approximated))


class _Reading:
    """The messages so far, and the calls that wait for their answer."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.approximated: list[str] = []
        self._calls = 0
        self._waiting: dict[str, deque[str]] = {}
        self._detail: str | None = None

    def nearly(self, field: str, what: str) -> None:
        self.approximated.append(f"{field}: {what}")

    def media_resolution(self, value: Any, field: str) -> None:
        self._detail = _DETAILS.get(text(value, field).upper())
        if self._detail is None and value.upper() != "MEDIA_RESOLUTION_UNSPECIFIED":
            self.nearly(field, "the provider's own applies")

    def system(self, value: Any) -> None:
        field = "systemInstruction"
        given = fields(value, _CONTENT, field)
        said = []
        for number_, part in enumerate(listed(given.get("parts"), f"{field}.parts")):
            path = f"{field}.parts[{number_}]"
            said.append(text(fields(part, PART, path).get("text"), f"{path}.text"))
        if said:
            content = said[0] if len(said) == 1 else [{"type": "text", "text": one} for one in said]
            self.messages.append({"role": "system", "content": content})

    def content(self, value: Any, field: str) -> None:
        given = fields(value, _CONTENT, field)
        role = given.get("role", "user")
        parts = listed(given.get("parts"), f"{field}.parts")
        if role == "model":
            self._model(parts, field)
        elif role in ("user", "function", ""):
            self._user(parts, field)
        else:
            raise Unsupported(f"{field}.role", f"{field}.role must be user or model")

    def _user(self, parts: list[Any], field: str) -> None:
        said: list[dict[str, Any]] = []
        answered = False
        for number_, one in enumerate(parts):
            path = f"{field}.parts[{number_}]"
            part = fields(one, PART, path, _SERVER_PART)
            if "text" in part:
                said.append({"type": "text", "text": text(part["text"], f"{path}.text")})
            elif "functionResponse" in part:
                self._response(part["functionResponse"], f"{path}.functionResponse")
                answered = True
            elif "inlineData" in part or "fileData" in part:
                said.append(self._media(part, path))
            else:
                raise Unsupported(path, f"{path} says nothing: text, inlineData, fileData or functionResponse is needed")
        if len(said) == 1 and said[0]["type"] == "text":
            self.messages.append({"role": "user", "content": said[0]["text"]})
        elif said:
            self.messages.append({"role": "user", "content": said})
        elif not answered:
            raise Unsupported(f"{field}.parts", f"{field}.parts must have at least one part")

    def _model(self, parts: list[Any], field: str) -> None:
        said: list[str] = []
        thoughts: list[str] = []
        blocks: list[dict[str, Any]] = []
        calls: list[dict[str, Any]] = []
        for number_, one in enumerate(parts):
            path = f"{field}.parts[{number_}]"
            part = fields(one, PART, path, _SERVER_PART)
            signature = text(part["thoughtSignature"], f"{path}.thoughtSignature") if "thoughtSignature" in part else ""
            if "functionCall" in part:
                calls.append(self._call(part["functionCall"], signature, f"{path}.functionCall"))
                continue
            if "text" not in part and not signature:
                raise Unsupported(path, f"{path} of a model must be text or a functionCall")
            words = text(part.get("text", ""), f"{path}.text")
            thought = part.get("thought") is True
            if signature:
                blocks.append(_block(signature, words if thought else ""))
            if thought:
                thoughts.append(words)
            elif words or not signature:
                said.append(words)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(said) if said else None}
        if thoughts := [words for words in thoughts if words]:
            message["reasoning_content"] = "".join(thoughts)
        if blocks:
            message["thinking_blocks"] = blocks
        if calls:
            message["tool_calls"] = calls
        if len(message) > 2 or said:
            self.messages.append(message)

    def _call(self, value: Any, signature: str, field: str) -> dict[str, Any]:
        given = fields(value, _CALL, field)
        name = text(given.get("name"), f"{field}.name")
        arguments = given.get("args", {})
        if type(arguments) is not dict:
            raise Unsupported(f"{field}.args", f"{field}.args must be an object")
        self._calls += 1
        identity = text(given["id"], f"{field}.id") if "id" in given else f"call_{self._calls}"
        self._waiting.setdefault(name, deque()).append(identity)
        call = {
            "id": identity,
            "type": "function",
            "function": {"name": name, "arguments": compact(arguments)},
        }
        if signature:
            call["signature"] = signature
        return call

    def _response(self, value: Any, field: str) -> None:
        given = fields(value, _RESPONSE, field)
        name = text(given.get("name"), f"{field}.name")
        if given.get("willContinue"):
            raise Unsupported(f"{field}.willContinue", f"{field}.willContinue: other providers take an answer whole")
        waiting = self._waiting.get(name, ())
        if "id" in given:
            identity = text(given["id"], f"{field}.id")
            if identity in waiting:
                self._waiting[name].remove(identity)
        elif waiting:
            identity = self._waiting[name].popleft()
        else:
            raise Unsupported(field, f"{field} answers no call of {name!r} before it")
        response = given.get("response", {})
        if type(response) is not dict:
            raise Unsupported(f"{field}.response", f"{field}.response must be an object")
        content, failed = _told(response)
        told: Any = content
        media = []
        for number_, one in enumerate(listed(given.get("parts"), f"{field}.parts")):
            path = f"{field}.parts[{number_}]"
            media.append(self._media(fields(one, PART, path), path))
        if media:
            told = [{"type": "text", "text": content}, *media]
        message: dict[str, Any] = {"role": "tool", "tool_call_id": identity, "content": told}
        if failed:
            message["is_error"] = True
        self.messages.append(message)

    def _media(self, part: dict[str, Any], field: str) -> dict[str, Any]:
        detail = self._detail
        if "mediaResolution" in part:
            path = f"{field}.mediaResolution"
            level = fields(part["mediaResolution"], _LEVEL, path).get("level", "")
            detail = _DETAILS.get(text(level, f"{path}.level").upper())
            if detail is None:
                self.nearly(path, "the provider's own applies")
        if "inlineData" in part:
            path = f"{field}.inlineData"
            given = fields(part["inlineData"], _BLOB, path)
            media_type = text(given.get("mimeType"), f"{path}.mimeType")
            data = base64_text(given.get("data"), f"{path}.data")
            if (sound := audio_format(media_type)) is not None:
                return {"type": "input_audio", "input_audio": {"data": data, "format": sound}}
            where, address = "file_data", f"data:{media_type};base64,{data}"
        elif "fileData" in part:
            path = f"{field}.fileData"
            given = fields(part["fileData"], _FILE, path)
            address = text(given.get("fileUri"), f"{path}.fileUri")
            media_type = text(given.get("mimeType", ""), f"{path}.mimeType")
            where = "file_url"
        else:
            raise Unsupported(field, f"{field} must be inlineData or fileData")
        if media_type.startswith("image/"):
            image: dict[str, Any] = {"url": address}
            if where == "file_url" and media_type_of(address) != media_type:
                image["format"] = media_type
            if detail is not None:
                image["detail"] = detail
            return {"type": "image_url", "image_url": image}
        file: dict[str, Any] = {where: address}
        if where == "file_url" and media_type and media_type_of(address) != media_type:
            file["format"] = media_type
        if "displayName" in given:
            file["filename"] = text(given["displayName"], f"{path}.displayName")
        return {"type": "file", "file": file}


def _block(signature: str, thinking: str) -> dict[str, Any]:
    """What must be given back to whoever made it: one of Gemini's, or another provider's that the app got through us."""
    foreign = unwrapped(signature)
    if foreign is None:
        return {"type": "thinking", "thinking": thinking, "signature": MAKER + signature}
    if foreign["type"] == "thinking":
        foreign.setdefault("thinking", thinking)
    return foreign


def _told(response: dict[str, Any]) -> tuple[str, bool]:
    """(a tool's answer as text, whether it failed): ``output`` and ``error`` are Google's names for a plain answer and for a failure."""
    if len(response) == 1:
        output, error = response.get("output"), response.get("error")
        if type(error) is str:
            return error, True
        if type(output) is str and not output.lstrip().startswith("{"):
            return output, False
    return compact(response), False
