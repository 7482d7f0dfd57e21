"""The pivot's conversation as Anthropic's: system prompts on top, turns of user and assistant, results of tools among the user's.

Neighbours of one role become one turn, as the provider itself would join them.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any

from apps.proxy.dialects.anthropic_wire import json_object, plain_id
from apps.proxy.dialects.translation import Payload, Unsupported

_NAMES_OF_NONE = frozenset({"document.pdf", "document.txt"})
"""File names that stand where a document has no title."""
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_MIDDLE = "messages[]: a system message in the middle became part of the system prompt"
_FOREIGN = "messages[].reasoning_content: left out, it was not signed by this provider"
_SIGNATURE = re.compile(r"[A-Za-z0-9+/=_-]+")
"""This provider's are base64; what formats of others put in their place names them first."""


class Conversation:
    """said: the turns. system: blocks of the system prompt. ends_with_answer: the last message is the model's own.

    open_call_without_thinking: tools' results come last, and the model's turn that called them does not begin with thinking.
    """

    __slots__ = ("_notes", "_thought", "ends_with_answer", "open_call_without_thinking", "said", "system")

    def __init__(self, notes: dict[str, None]) -> None:
        self.said: list[Payload] = []
        self.system: list[Payload] = []
        self.ends_with_answer = False
        self.open_call_without_thinking = False
        self._notes = notes
        self._thought = True

    def read(self, messages: list[Any]) -> None:
        """Raises Unsupported."""
        for number, message in enumerate(messages):
            self._message(message, f"messages[{number}]")
        if not self.said and self.system:  # there must be a turn: the prompt alone is it
            self.said.append({"role": "user", "content": self.system_said()})
            self.system = []
            self._notes["messages: the system prompt alone was said as the user's"] = None
        if not self.said:
            raise Unsupported("messages", "None of the messages says anything.")
        last = self.said[-1]
        self.ends_with_answer = last["role"] == "assistant"
        if self.ends_with_answer:
            self._end_cleanly(last)
        elif type(last["content"]) is list and any(block["type"] == "tool_result" for block in last["content"]):
            self.open_call_without_thinking = not self._thought

    def system_said(self) -> str | list[Payload]:
        """As it was said: text, or blocks where there are several or something is marked."""
        if len(self.system) == 1 and len(self.system[0]) == 2 and "plain" in self.system[0]:
            text: str = self.system[0]["text"]
            return text
        return [{name: value for name, value in block.items() if name != "plain"} | {"type": "text"} for block in self.system]

    def _end_cleanly(self, last: Payload) -> None:
        content = last["content"]
        if type(content) is str:
            stripped = content.rstrip()
            if stripped != content:
                last["content"] = stripped
                self._notes["messages[]: white space at the end of the last answer was left out"] = None
        elif content and content[-1]["type"] == "text" and content[-1]["text"] != content[-1]["text"].rstrip():
            last["content"] = [*content[:-1], {**content[-1], "text": content[-1]["text"].rstrip()}]
            self._notes["messages[]: white space at the end of the last answer was left out"] = None

    def _add(self, role: str, content: str | list[Payload]) -> None:
        if not content:
            return
        if self.said and self.said[-1]["role"] == role:
            last = self.said[-1]
            last["content"] = _blocks(last["content"]) + _blocks(content)
        else:
            self.said.append({"role": role, "content": content})

    def _message(self, message: object, at: str) -> None:
        if type(message) is not dict:
            raise Unsupported(at, f"The field {at!r} must be an object.")
        role = message.get("role")
        mark = message.get("cache_control")
        if message.get("name") is not None:
            self._notes["messages[].name: left out"] = None
        if role == "user":
            self._add("user", _marked(self._content(message.get("content"), f"{at}.content"), mark))
        elif role == "assistant":
            self._assistant(message, at, mark)
        elif role == "tool":
            self._result(message, at, mark)
        elif role in ("system", "developer"):
            self._system(message.get("content"), at, mark)
        else:
            raise Unsupported(f"{at}.role", f"This format has no role {role!r}.")

    def _system(self, content: object, at: str, mark: object) -> None:
        if self.said:
            self._notes[_MIDDLE] = None
        if type(content) is str:
            block: Payload = {"text": content, "plain": True}
            if mark is not None:
                block["cache_control"] = mark
            if content:
                self.system.append(block)
            return
        for block in _blocks(_marked(self._content(content, f"{at}.content"), mark)):
            if block["type"] != "text":
                raise Unsupported(f"{at}.content", "A system prompt of this format is text only.")
            self.system.append(block)

    def _content(self, content: object, at: str) -> str | list[Payload]:
        if content is None:
            return ""
        if type(content) is str:
            return content
        if type(content) is not list:
            raise Unsupported(at, f"The field {at!r} must be a text or a list of parts.")
        blocks: list[Payload] = []
        for number, part in enumerate(content):
            block = self._part(part, f"{at}[{number}]")
            if block is not None:
                blocks.append(block)
        return blocks

    def _part(self, part: object, at: str) -> Payload | None:
        if type(part) is not dict:
            raise Unsupported(at, f"The field {at!r} must be an object.")
        kind = part.get("type")
        block: Payload
        if kind in ("text", "refusal"):
            text = part.get(kind)
            if type(text) is not str:
                raise Unsupported(f"{at}.{kind}", f"The field '{at}.{kind}' must be a text.")
            if not text:  # empty blocks are refused
                return None
            block = {"type": "text", "text": text}
        elif kind == "image_url":
            block = self._image(part.get("image_url"), f"{at}.image_url")
        elif kind == "file":
            block = self._file(part.get("file"), f"{at}.file")
        else:
            raise Unsupported(at, f"This format has no part of type {kind!r}.")
        if part.get("cache_control") is not None:
            block["cache_control"] = part["cache_control"]
        return block

    def _image(self, image: object, at: str) -> Payload:
        if type(image) is str:
            image = {"url": image}
        url = image.get("url") if type(image) is dict else None
        if type(image) is not dict or type(url) is not str:
            raise Unsupported(f"{at}.url", f"The field '{at}.url' must be a text.")
        if image.get("detail") not in (None, "auto"):
            self._notes["messages[].content[].image_url.detail: left out"] = None
        if url.startswith("data:"):
            media, data = _data_url(url, f"{at}.url")
            if media not in _IMAGES:
                raise Unsupported(f"{at}.url", f"This format reads no {media!r}: send JPEG, PNG, GIF or WebP.")
            return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}
        if not url.startswith(("https://", "http://")):
            raise Unsupported(f"{at}.url", "An image is a URL with http(s) or a data URL.")
        return {"type": "image", "source": {"type": "url", "url": url}}

    def _file(self, file: object, at: str) -> Payload:
        if type(file) is not dict:
            raise Unsupported(at, f"The field {at!r} must be an object.")
        source: Payload
        if type(file.get("file_url")) is str:
            source = {"type": "url", "url": file["file_url"]}
        elif type(file.get("file_data")) is str:
            media, data = _data_url(file["file_data"], f"{at}.file_data")
            if media == "application/pdf":
                source = {"type": "base64", "media_type": media, "data": data}
            elif media in _IMAGES:
                return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}
            elif media.startswith("text/") or media == "application/json":
                try:
                    text = b64decode(data, validate=True).decode()
                except ValueError:
                    raise Unsupported(f"{at}.file_data", "The file is no text in UTF-8.") from None
                source = {"type": "text", "media_type": "text/plain", "data": text}
            else:
                raise Unsupported(f"{at}.file_data", f"This format reads no {media!r}: send PDF or text.")
        else:
            raise Unsupported(at, "A file that a provider keeps is known to that provider alone: send 'file_data' or 'file_url'.")
        block: Payload = {"type": "document", "source": source}
        title = file.get("filename")
        if type(title) is str and title and title not in _NAMES_OF_NONE:
            block["title"] = title
        return block

    def _assistant(self, message: Payload, at: str, mark: object) -> None:
        if message.get("function_call") is not None:
            raise Unsupported(f"{at}.function_call", "Use 'tool_calls'.")
        if message.get("audio") is not None:
            raise Unsupported(f"{at}.audio", "This format does not speak.")
        thoughts = self._thoughts(message, at)
        content = self._content(message.get("content"), f"{at}.content")
        refusal = message.get("refusal")
        if type(refusal) is str and refusal:
            content = [*_blocks(content), {"type": "text", "text": refusal}]
        calls = message.get("tool_calls")
        if calls is not None and type(calls) is not list:
            raise Unsupported(f"{at}.tool_calls", f"The field '{at}.tool_calls' must be a list.")
        if calls or thoughts:
            said = [self._call(call, f"{at}.tool_calls[{number}]") for number, call in enumerate(calls or ())]
            content = [*thoughts, *_blocks(content), *said]
        follows = bool(self.said) and self.said[-1]["role"] == "assistant"
        if not follows:
            self._thought = bool(thoughts)
        self._add("assistant", _marked(content, mark))

    def _thoughts(self, message: Payload, at: str) -> list[Payload]:
        blocks = message.get("thinking_blocks")
        if blocks is None:
            if message.get("reasoning_content"):
                self._notes[_FOREIGN] = None
            return []
        if type(blocks) is not list:
            raise Unsupported(f"{at}.thinking_blocks", f"The field '{at}.thinking_blocks' must be a list.")
        said: list[Payload] = []
        for number, block in enumerate(blocks):
            kind = block.get("type") if type(block) is dict else None
            if kind == "thinking" and type(block.get("thinking")) is str:
                signature = block.get("signature")
                if type(signature) is str and _SIGNATURE.fullmatch(signature):
                    said.append({"type": "thinking", "thinking": block["thinking"], "signature": signature})
                else:
                    self._notes[_FOREIGN] = None
            elif kind == "redacted_thinking" and type(block.get("data")) is str:
                said.append({"type": "redacted_thinking", "data": block["data"]})
            else:
                raise Unsupported(f"{at}.thinking_blocks[{number}]", "A block of thinking has a text and a signature, or data.")
        return said

    def _call(self, call: object, at: str) -> Payload:
        function = call.get("function") if type(call) is dict else None
        if type(call) is not dict or type(function) is not dict or call.get("type", "function") != "function":
            raise Unsupported(at, "This format has calls of functions only.")
        call_id, name, arguments = call.get("id"), function.get("name"), function.get("arguments")
        if type(call_id) is not str or type(name) is not str:
            raise Unsupported(at, "A call needs its 'id' and its function's 'name'.")
        said = json_object(arguments) if type(arguments) is str else {} if arguments is None else None
        if said is None:
            raise Unsupported(f"{at}.function.arguments", "This format needs a call's arguments to be a JSON object.")
        if call.get("signature"):
            self._notes["messages[].tool_calls[].signature: left out, it is another provider's"] = None
        return {"type": "tool_use", "id": plain_id(call_id), "name": name, "input": said}

    def _result(self, message: Payload, at: str, mark: object) -> None:
        call_id = message.get("tool_call_id")
        if type(call_id) is not str:
            raise Unsupported(f"{at}.tool_call_id", f"The field '{at}.tool_call_id' must be a text.")
        block: Payload = {"type": "tool_result", "tool_use_id": plain_id(call_id)}
        content = self._content(message.get("content"), f"{at}.content")
        if content:
            block["content"] = content
        if message.get("is_error"):
            block["is_error"] = True
        if mark is not None:
            block["cache_control"] = mark
        self._add("user", [block])


def _blocks(content: str | list[Payload]) -> list[Payload]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _marked(content: str | list[Payload], mark: object) -> str | list[Payload]:
    """With the mark on its last block."""
    if mark is None or not content:
        return content
    blocks = _blocks(content)
    blocks[-1] = {**blocks[-1], "cache_control": mark}
    return blocks


def _data_url(url: str, at: str) -> tuple[str, str]:
    """(media type, base64) of a data URL."""
    head, comma, data = url.partition(",")
    media, _, rest = head.removeprefix("data:").partition(";")
    if not comma or not url.startswith("data:") or not f";{rest}".endswith(";base64"):
        raise Unsupported(at, f"The field {at!r} must be a data URL in base64: 'data:<media type>;base64,<data>'.")
    return media.lower(), data
