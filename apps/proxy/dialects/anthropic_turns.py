"""The conversation of an app that speaks Anthropic's format, as the pivot's messages."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64decode
from typing import Any

from apps.proxy.dialects.anthropic_wire import SIGNATURE_IN_ID
from apps.proxy.dialects.translation import Payload, Unsupported
from apps.proxy.dialects.wire_json import written

PDF_NAME, TEXT_NAME = "document.pdf", "document.txt"
"""The pivot's names of documents without a title."""


class Turns:
    """notes: what no provider is told quite as asked. outline: what only a target of this format can be told is left out."""

    __slots__ = ("_notes", "_outline")

    def __init__(self, *, outline: bool) -> None:
        self._outline = outline
        self._notes: dict[str, None] = {}

    def _cannot(self, field: str, why: str) -> None:
        if not self._outline:
            raise Unsupported(field, f"The field {field!r} cannot be translated: {why}")

    @staticmethod
    def _object(value: object, field: str) -> dict[str, Any]:
        if type(value) is not dict:
            raise Unsupported(field, f"The field {field!r} must be an object.")
        return value

    @staticmethod
    def _text(value: object, field: str) -> str:
        if type(value) is not str:
            raise Unsupported(field, f"The field {field!r} must be a text.")
        return value

    def _message(self, message: object, at: str, turns: list[Payload]) -> None:
        message = self._object(message, at)
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant", "system"):
            raise Unsupported(f"{at}.role", f"The field '{at}.role' must be 'user' or 'assistant'.")
        if role == "system":
            said = self._texts(content, f"{at}.content")
            if said:
                turns.append({"role": "system", "content": said})
        elif type(content) is str:
            turns.append({"role": role, "content": content})
        elif type(content) is not list:
            raise Unsupported(f"{at}.content", f"The field '{at}.content' must be a text or a list of blocks.")
        elif role == "user":
            self._user(content, f"{at}.content", turns)
        else:
            self._assistant(content, f"{at}.content", turns)

    def _texts(self, content: object, at: str) -> str | list[Payload]:
        """Text, or blocks of nothing else."""
        if type(content) is str:
            return content
        if type(content) is not list:
            raise Unsupported(at, f"The field {at!r} must be a text or a list of blocks.")
        parts: list[Payload] = []
        for number, block in enumerate(content):
            block = self._object(block, f"{at}[{number}]")
            if block.get("type") == "text":
                parts.append(self._text_part(block, f"{at}[{number}]"))
            else:
                self._cannot(f"{at}[{number}]", f"a block of type {block.get('type')!r} is known to this format alone.")
        return _plain(parts)

    def _text_part(self, block: Payload, at: str) -> Payload:
        part: Payload = {"type": "text", "text": self._text(block.get("text"), f"{at}.text")}
        if block.get("cache_control") is not None:
            part["cache_control"] = self._object(block["cache_control"], f"{at}.cache_control")
        if block.get("citations"):
            self._notes["messages[].content[].citations: left out, the text stays"] = None
        return part

    def _user(self, content: list[object], at: str, turns: list[Payload]) -> None:
        parts: list[Payload] = []
        for number, block in enumerate(content):
            block, here = self._object(block, f"{at}[{number}]"), f"{at}[{number}]"
            if block.get("type") == "tool_result":
                if parts:
                    self._notes[f"{here}: said before what stands before it"] = None
                turns.append(self._result(block, here))
            else:
                parts.extend(self._part(block, here))
        if parts or not content:
            turns.append({"role": "user", "content": _plain(parts)})

    def _part(self, block: Payload, at: str) -> list[Payload]:
        kind = block.get("type")
        if kind == "text":
            return [self._text_part(block, at)]
        if kind == "image":
            parts = self._image(block, at)
        elif kind == "document":
            parts = self._document(block, at)
        else:
            self._cannot(at, f"a block of type {kind!r} is known to this format alone.")
            return []
        if parts and block.get("cache_control") is not None:
            parts[-1]["cache_control"] = self._object(block["cache_control"], f"{at}.cache_control")
        return parts

    def _image(self, block: Payload, at: str) -> list[Payload]:
        source = self._object(block.get("source"), f"{at}.source")
        kind = source.get("type") or ("base64" if "data" in source else None)
        if kind == "base64":
            media, data = (
                self._text(source.get("media_type"), f"{at}.source.media_type"),
                self._text(source.get("data"), f"{at}.source.data"),
            )
            url = f"data:{media};base64,{data}"
        elif kind == "url":
            url = self._text(source.get("url"), f"{at}.source.url")
        else:
            self._cannot(f"{at}.source", f"a source of type {kind!r} is known to the provider that keeps it. Send 'base64' or 'url'.")
            return []
        if block.get("transformations"):
            self._notes["messages[].content[].transformations: the target's own"] = None
        return [{"type": "image_url", "image_url": {"url": url}}]

    def _document(self, block: Payload, at: str) -> list[Payload]:
        source = self._object(block.get("source"), f"{at}.source")
        kind = source.get("type") or ("base64" if "data" in source else None)
        parts: list[Payload] = []
        if block.get("context"):
            parts.append({"type": "text", "text": self._text(block["context"], f"{at}.context")})
            self._notes["messages[].content[].context: said as text before the document"] = None
        if type(block.get("citations")) is dict and block["citations"].get("enabled"):
            self._notes["messages[].content[].citations: none are given"] = None
        title, file = block.get("title"), {}
        if kind == "base64":
            media, data = source.get("media_type", "application/pdf"), self._text(source.get("data"), f"{at}.source.data")
            file = {"file_data": f"data:{media};base64,{data}", "filename": title or PDF_NAME}
        elif kind == "url":
            file = {"file_url": self._text(source.get("url"), f"{at}.source.url"), "filename": title or PDF_NAME}
        elif kind in ("text", "content"):
            if kind == "text":
                text = self._text(source.get("data"), f"{at}.source.data")
            else:
                text = _joined(self._texts(source.get("content"), f"{at}.source.content"))
                self._notes["messages[].content[].source: its pieces are said as one document"] = None
            data = b64encode(text.encode("utf-8", "replace")).decode()
            file = {"file_data": f"data:text/plain;base64,{data}", "filename": title or TEXT_NAME}
        else:
            self._cannot(
                f"{at}.source", f"a source of type {kind!r} is known to the provider that keeps it. Send 'base64', 'url' or 'text'."
            )
            return parts
        parts.append({"type": "file", "file": file})
        return parts

    def _result(self, block: Payload, at: str) -> Payload:
        said: Payload = {"role": "tool", "tool_call_id": _split_id(self._text(block.get("tool_use_id"), f"{at}.tool_use_id"))[0]}
        content = block.get("content")
        if content is None or type(content) is str:
            said["content"] = content or ""
        elif type(content) is list:
            parts: list[Payload] = []
            for number, inner in enumerate(content):
                parts.extend(self._part(self._object(inner, f"{at}.content[{number}]"), f"{at}.content[{number}]"))
            said["content"] = _plain(parts)
        else:
            raise Unsupported(f"{at}.content", f"The field '{at}.content' must be a text or a list of blocks.")
        if block.get("is_error"):
            said["is_error"] = True
        if block.get("cache_control") is not None:
            said["cache_control"] = self._object(block["cache_control"], f"{at}.cache_control")
        return said

    def _assistant(self, content: list[object], at: str, turns: list[Payload]) -> None:
        parts: list[Payload] = []
        thoughts: list[Payload] = []
        calls: list[Payload] = []
        marked: Payload | None = None
        for number, block in enumerate(content):
            block, here = self._object(block, f"{at}[{number}]"), f"{at}[{number}]"
            kind = block.get("type")
            if kind == "text":
                parts.append(self._text_part(block, here))
                if calls:
                    self._notes[f"{here}: said before the calls that stand before it"] = None
            elif kind == "tool_use":
                calls.append(self._call(block, here))
                marked = block.get("cache_control") or marked
            elif kind == "thinking":
                thoughts.append(
                    {
                        "type": "thinking",
                        "thinking": self._text(block.get("thinking"), f"{here}.thinking"),
                        "signature": self._text(block.get("signature", ""), f"{here}.signature"),
                    }
                )
            elif kind == "redacted_thinking":
                thoughts.append({"type": kind, "data": self._text(block.get("data"), f"{here}.data")})
            else:
                self._cannot(here, f"a block of type {kind!r} is known to this format alone.")
            if thoughts and kind in ("thinking", "redacted_thinking") and (parts or calls):
                self._notes[f"{here}: said before what stands before it"] = None
        said: Payload = {"role": "assistant", "content": _plain(parts) if parts else None}
        if thoughts:
            said["thinking_blocks"] = thoughts
            text = "".join(block.get("thinking", "") for block in thoughts)
            if text:
                said["reasoning_content"] = text
        if calls:
            said["tool_calls"] = calls
        if marked is not None:
            said["cache_control"] = self._object(marked, f"{at}[].cache_control")
        turns.append(said)

    def _call(self, block: Payload, at: str) -> Payload:
        call_id, signature = _split_id(self._text(block.get("id"), f"{at}.id"))
        name = self._text(block.get("name"), f"{at}.name")
        arguments = written(self._object(block.get("input", {}), f"{at}.input")).decode()
        call: Payload = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        if signature:
            call["signature"] = signature
        caller = block.get("caller")
        if caller is not None and self._object(caller, f"{at}.caller").get("type") != "direct":
            self._cannot(f"{at}.caller", "a call that the provider's own code made is known to this format alone.")
        return call


def _plain(parts: list[Payload]) -> str | list[Payload]:
    """One text without more to say is a text: servers that know no parts take it too."""
    if not parts:
        return ""
    if len(parts) == 1 and len(parts[0]) == 2 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


def _joined(content: str | list[Payload]) -> str:
    return content if type(content) is str else "\n\n".join(part["text"] for part in content if type(part) is dict)


def _split_id(value: str) -> tuple[str, str]:
    """A call's own id, and the signature that was put behind it on the way to the app; empty where there is none."""
    own, mark, coded = value.partition(SIGNATURE_IN_ID)
    if not mark:
        return value, ""
    try:
        return own, urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()
    except ValueError:
        return value, ""
