"""The pivot's conversation as Converse's: system prompts apart, turns of user and assistant, results of tools among the user's.

Neighbours of one role become one turn. A mark for caching is a block of its own behind what it marks.
"""

from __future__ import annotations

import json
import re
from typing import Any
from zlib import crc32

import msgspec

from apps.proxy.dialects.bedrock_wire import redacted_blob
from apps.proxy.dialects.translation import Payload, Unsupported

_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
    "application/json": "txt",
}
_VIDEOS = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_AUDIO = frozenset({"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "m4a", "mpeg", "pcm", "webm"})
_MIDDLE = "messages[]: a system message in the middle became part of the system prompt"
_FOREIGN = "messages[].reasoning_content: left out, it was not signed by this provider"
_SIGNATURE = re.compile(r"[A-Za-z0-9+/=_-]+")
_NO_ID, _NO_ID_OF_CLAUDE = re.compile(r"[^a-zA-Z0-9_.:-]"), re.compile(r"[^a-zA-Z0-9_-]")
_NO_NAME_CHARACTER = re.compile(r"[^\w \-()\[\]]|_", re.ASCII)
_ENDING = re.compile(r"(?<=.)\.[A-Za-z0-9]{1,5}$")
_MOST_ID, _MOST_NAME = 64, 200
"""Characters of a call's id and of a document's name."""
_decode = msgspec.json.Decoder().decode
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


class Conversation:
    """said: the turns. system: blocks of the system prompt. calls: turns have calls or results, for which tools must be offered."""

    __slots__ = ("_names", "_no_id", "_notes", "_signs", "calls", "said", "system")

    def __init__(self, notes: dict[str, None], *, signs: bool) -> None:
        """signs: the model is Claude, or may be: it takes signed thinking back, and ids of calls in fewer characters."""
        self.said: list[Payload] = []
        self.system: list[Payload] = []
        self.calls = False
        self._notes = notes
        self._signs = signs
        self._no_id = _NO_ID_OF_CLAUDE if signs else _NO_ID
        self._names: set[str] = set()

    @property
    def ends_with_answer(self) -> bool:
        return bool(self.said) and self.said[-1]["role"] == "assistant"

    def read(self, messages: list[Any]) -> None:
        """Raises Unsupported."""
        for number, message in enumerate(messages):
            self._message(message, f"messages[{number}]")
        if not self.said:
            texts = [block for block in self.system if "text" in block]
            if not texts:
                raise Unsupported("messages", "None of the messages says anything.")
            self.said.append({"role": "user", "content": self.system})  # there must be a turn: the prompt alone is it
            self.system = []
            self._notes["messages: the system prompt alone was said as the user's"] = None

    def _add(self, role: str, content: list[Payload]) -> None:
        if not content:
            return
        if self.said and self.said[-1]["role"] == role:
            self.said[-1]["content"] += content
        else:
            self.said.append({"role": role, "content": content})

    def _message(self, message: object, at: str) -> None:
        if type(message) is not dict:
            raise Unsupported(at, f"The field {at!r} must be an object.")
        role = message.get("role")
        if message.get("name") is not None:
            self._notes["messages[].name: left out"] = None
        if role == "user":
            self._add("user", _marked(self._content(message.get("content"), f"{at}.content"), message))
        elif role == "assistant":
            self._assistant(message, at)
        elif role == "tool":
            self._result(message, at)
        elif role in ("system", "developer"):
            if self.said:
                self._notes[_MIDDLE] = None
            for block in _marked(self._content(message.get("content"), f"{at}.content"), message):
                if "text" not in block and "cachePoint" not in block:
                    raise Unsupported(f"{at}.content", "A system prompt of this format is text only.")
                self.system.append(block)
        else:
            raise Unsupported(f"{at}.role", f"This format has no role {role!r}.")

    def _content(self, content: object, at: str) -> list[Payload]:
        if content is None:
            return []
        if type(content) is str:
            return _text(content)
        if type(content) is not list:
            raise Unsupported(at, f"The field {at!r} must be a text or a list of parts.")
        blocks: list[Payload] = []
        for number, part in enumerate(content):
            where = f"{at}[{number}]"
            if type(part) is not dict:
                raise Unsupported(where, f"The field {where!r} must be an object.")
            blocks += _marked(self._part(part, where), part)
        return blocks

    def _part(self, part: Payload, at: str) -> list[Payload]:
        kind = part.get("type")
        if kind in ("text", "refusal"):
            text = part.get(kind)
            if type(text) is not str:
                raise Unsupported(f"{at}.{kind}", f"The field '{at}.{kind}' must be a text.")
            return _text(text)
        if kind == "image_url":
            return [self._image(part.get("image_url"), f"{at}.image_url")]
        if kind == "file":
            return [self._file(part.get("file"), f"{at}.file")]
        if kind == "input_audio":
            audio = part.get("input_audio")
            form, data = (audio.get("format"), audio.get("data")) if type(audio) is dict else (None, None)
            if type(form) is not str or form not in _AUDIO or type(data) is not str:
                raise Unsupported(f"{at}.input_audio", "Audio needs its 'data' in base64 and a 'format' such as mp3 or wav.")
            return [{"audio": {"format": form, "source": {"bytes": data}}}]
        raise Unsupported(at, f"This format has no part of type {kind!r}.")

    def _image(self, image: object, at: str) -> Payload:
        if type(image) is str:
            image = {"url": image}
        url = image.get("url") if type(image) is dict else None
        if type(image) is not dict or type(url) is not str:
            raise Unsupported(f"{at}.url", f"The field '{at}.url' must be a text.")
        if image.get("detail") not in (None, "auto"):
            self._notes["messages[].content[].image_url.detail: left out"] = None
        if url.startswith("s3://"):
            form = _IMAGES.get(f"image/{url.rpartition('.')[2].lower()}")
            if form is None:
                raise Unsupported(f"{at}.url", "The name of an image in S3 must end in .png, .jpeg, .gif or .webp.")
            return {"image": {"format": form, "source": {"s3Location": {"uri": url}}}}
        if not url.startswith("data:"):
            raise Unsupported(f"{at}.url", "Bedrock fetches no images: send a data URL, or an s3:// address that it may read.")
        media, data = _data_url(url, f"{at}.url")
        return self._picture(media, data, f"{at}.url")

    @staticmethod
    def _picture(media: str, data: str, at: str) -> Payload:
        if media not in _IMAGES:
            raise Unsupported(at, f"This format reads no {media!r}: send JPEG, PNG, GIF or WebP.")
        return {"image": {"format": _IMAGES[media], "source": {"bytes": data}}}

    def _file(self, file: object, at: str) -> Payload:
        if type(file) is not dict:
            raise Unsupported(at, f"The field {at!r} must be an object.")
        url, data, title = file.get("file_url"), file.get("file_data"), file.get("filename")
        title = title if type(title) is str else ""
        if type(url) is str:
            ending = url.rpartition(".")[2].lower()
            if not url.startswith("s3://") or ending not in _DOCUMENTS.values():
                raise Unsupported(f"{at}.file_url", "Bedrock fetches files from s3:// addresses only, whose ending tells their kind.")
            return {"document": {"format": ending, "name": self._name(title), "source": {"s3Location": {"uri": url}}}}
        if type(data) is not str:
            raise Unsupported(at, "A file that a provider keeps is known to that provider alone: send 'file_data'.")
        media, data = _data_url(data, f"{at}.file_data")
        if media in _IMAGES:
            return self._picture(media, data, f"{at}.file_data")
        if media in _VIDEOS:
            return {"video": {"format": _VIDEOS[media], "source": {"bytes": data}}}
        form = _DOCUMENTS.get(media) or ("txt" if media.startswith("text/") else None)
        if form is None:
            raise Unsupported(f"{at}.file_data", f"This format reads no {media!r}: send PDF, text, HTML, CSV, Word or Excel.")
        return {"document": {"format": form, "name": self._name(title), "source": {"bytes": data}}}

    def _name(self, title: str) -> str:
        """A document's name, which must be one of its own in the conversation, of letters, digits, single spaces, hyphens and brackets."""
        stem = _ENDING.sub("", title)
        wanted = " ".join(_NO_NAME_CHARACTER.sub(" ", stem).split())[: _MOST_NAME - 8]
        if wanted != stem:
            self._notes["messages[].content[].file.filename: in the characters that a name may have"] = None
        base, name, number = wanted or "Document", wanted or "Document 1", 1
        while name in self._names:
            number += 1
            name = f"{base} {number}"
        self._names.add(name)
        return name

    def _assistant(self, message: Payload, at: str) -> None:
        if message.get("function_call") is not None:
            raise Unsupported(f"{at}.function_call", "Use 'tool_calls'.")
        if message.get("audio") is not None:
            raise Unsupported(f"{at}.audio", "This format does not speak.")
        content = self._thoughts(message, at) + self._content(message.get("content"), f"{at}.content")
        refusal = message.get("refusal")
        if type(refusal) is str:
            content += _text(refusal)
        calls = message.get("tool_calls")
        if calls is not None and type(calls) is not list:
            raise Unsupported(f"{at}.tool_calls", f"The field '{at}.tool_calls' must be a list.")
        content += [self._call(call, f"{at}.tool_calls[{number}]") for number, call in enumerate(calls or ())]
        self._add("assistant", _marked(content, message))

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
                if self._signs and type(signature) is str and _SIGNATURE.fullmatch(signature):
                    said.append({"reasoningContent": {"reasoningText": {"text": block["thinking"], "signature": signature}}})
                else:
                    self._notes[_FOREIGN] = None
            elif kind == "redacted_thinking" and type(block.get("data")) is str:
                blob = redacted_blob(block["data"]) if self._signs else None
                if blob is None:
                    self._notes[_FOREIGN] = None
                else:
                    said.append({"reasoningContent": {"redactedContent": blob}})
            else:
                raise Unsupported(f"{at}.thinking_blocks[{number}]", "A block of thinking has a text and a signature, or data.")
        return said

    def _call(self, call: object, at: str) -> Payload:
        function = call.get("function") if type(call) is dict else None
        if type(call) is not dict or type(function) is not dict or call.get("type", "function") != "function":
            raise Unsupported(at, "This format has calls of functions only.")
        call_id, name = call.get("id"), function.get("name")
        if type(call_id) is not str or type(name) is not str:
            raise Unsupported(at, "A call needs its 'id' and its function's 'name'.")
        said = _object(function.get("arguments"))
        if said is None:
            raise Unsupported(f"{at}.function.arguments", "This format needs a call's arguments to be a JSON object.")
        if call.get("signature"):
            self._notes["messages[].tool_calls[].signature: left out, it is another provider's"] = None
        self.calls = True
        return {"toolUse": {"toolUseId": plain_id(call_id, self._no_id), "name": name, "input": said}}

    def _result(self, message: Payload, at: str) -> None:
        call_id = message.get("tool_call_id")
        if type(call_id) is not str:
            raise Unsupported(f"{at}.tool_call_id", f"The field '{at}.tool_call_id' must be a text.")
        blocks = self._content(message.get("content"), f"{at}.content")
        marks = [block for block in blocks if "cachePoint" in block]  # no place for them within a result
        said: Payload = {"toolUseId": plain_id(call_id, self._no_id), "content": [block for block in blocks if "cachePoint" not in block]}
        for block in said["content"]:
            if "audio" in block:
                raise Unsupported(f"{at}.content", "A tool's result of this format has no audio.")
        if message.get("is_error"):
            said["status"] = "error"
        self.calls = True
        self._add("user", _marked([{"toolResult": said}, *marks[-1:]], message))


def _text(text: str) -> list[Payload]:
    return [{"text": text}] if text else []  # empty blocks are refused


def cache_point(mark: object) -> Payload:
    """Anthropic's ``cache_control`` as Converse's."""
    point: Payload = {"type": "default"}
    if type(mark) is dict and type(mark.get("ttl")) is str:
        point["ttl"] = mark["ttl"]
    return {"cachePoint": point}


def _marked(content: list[Payload], holder: Payload) -> list[Payload]:
    mark = holder.get("cache_control")
    if mark is None or not content or "cachePoint" in content[-1]:
        return content
    return [*content, cache_point(mark)]


def plain_id(value: str, no_id: re.Pattern[str]) -> str:
    """An id that Bedrock takes; one that it would not take always becomes the same other one."""
    if value and len(value) <= _MOST_ID and not no_id.search(value):
        return value
    return f"{no_id.sub('_', value)[: _MOST_ID - 9]}_{crc32(value.encode('utf-8', 'replace')):08x}"


def _object(text: object) -> Payload | None:
    if text is None or (type(text) is str and (not text or text.isspace())):
        return {}
    if type(text) is not str:
        return None
    try:
        value = _decode(text)
    except _UNREADABLE:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
    return value if type(value) is dict else None


def _data_url(url: str, at: str) -> tuple[str, str]:
    """(media type, base64) of a data URL."""
    header, comma, data = url.partition(",")
    media, _, rest = header.removeprefix("data:").partition(";")
    if not comma or not url.startswith("data:") or not f";{rest}".endswith(";base64"):
        raise Unsupported(at, f"The field {at!r} must be a data URL in base64: 'data:<media type>;base64,<data>'.")
    return media.lower(), data
