"""What a simulated provider serves beside chat: rerank, moderations, images, sound, and embeddings of other formats than OpenAI's.

Answers depend on nothing but the request: a text's rank, an image's one pixel and a recording's words are the same every time. How long
a recording plays is read from its head where it is a WAV file; another file plays a second for each ``BYTES_A_SECOND``.
"""

from __future__ import annotations

import base64
import io
import re
import struct
import wave
import zlib
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from email.policy import HTTP
from math import ceil
from typing import Any

from apps.simulator import answers, content
from apps.simulator.counting import input_tokens, text_tokens
from apps.simulator.http import LAST_CHUNK, Exchange, Step, chunk
from apps.simulator.openai import SIMULATED, Call, Refused, encode, read_body
from apps.simulator.wire import SSE

BYTES_A_SECOND = 16_000
SAMPLE_RATE = 8_000
CHARACTERS_A_SECOND = 15
IMAGE_TOKENS = 1_056
"""Output tokens of an image, of models that bill them (``gpt-image*``)."""
_TOKENS_A_SECOND = 10


class MediaCall(Call):
    """A checked request of one of these operations. name: of the operation, in the bill."""

    name = ""
    __slots__ = ("input_tokens", "said")

    def __init__(self, exchange: Exchange) -> None:
        self.said = self.read(exchange)
        super().__init__(self.said)
        self.input_tokens = 0
        self.check()

    def read(self, exchange: Exchange) -> dict[str, Any]:
        return read_body(exchange.body)

    def check(self) -> None:
        """Raises Refused."""

    def steps(self, answer: answers.Answer) -> Iterator[Step]:
        return answers.json_answer(answer, encode({**self.body(answer), SIMULATED: True}), output_tokens=self.output())

    def body(self, answer: answers.Answer) -> dict[str, Any]:
        """What is answered, where ``steps`` is not another's."""
        raise NotImplementedError

    def output(self) -> int:
        return 0

    def texts(self, field: str) -> list[str]:
        given = self.said.get(field)
        if isinstance(given, str):
            given = [given]
        if not isinstance(given, list) or not given:
            raise Refused(f"'{field}' must be a text or a list of texts", param=field)
        found: list[str] = []
        for item in given:
            text = item.get("text") if isinstance(item, dict) else item
            if not isinstance(text, str):
                raise Refused(f"'{field}' must hold texts", param=field)
            found.append(text)
        return found


class RerankCall(MediaCall):
    """In Cohere's and Jina's shape: both usages are in the answer, search units at Cohere's address only."""

    name = "rerank"
    __slots__ = ("units",)

    def __init__(self, exchange: Exchange) -> None:
        self.units = exchange.path.startswith("/v2/")
        super().__init__(exchange)

    def check(self) -> None:
        query, documents = self.texts("query"), self.texts("documents")
        self.input_tokens = sum(input_tokens(query[0]) + input_tokens(text) for text in documents)

    def body(self, answer: answers.Answer) -> dict[str, Any]:
        words = set(self.texts("query")[0].lower().split())
        documents = self.texts("documents")
        scored = []
        for index, text in enumerate(documents):
            own = set(text.lower().split())
            scored.append((len(words & own) / (len(words | own) or 1), index))
        scored.sort(key=lambda pair: (-pair[0], pair[1]))
        results: list[dict[str, Any]] = [{"index": index, "relevance_score": round(score, 6)} for score, index in scored]
        if self.said.get("return_documents"):
            results = [{**result, "document": {"text": documents[result["index"]]}} for result in results]
        found: dict[str, Any] = {"id": answer.line.id, "model": self.model, "results": results[: self.said.get("top_n") or len(results)]}
        if self.units:
            found["meta"] = {"api_version": {"version": "2"}, "billed_units": {"search_units": ceil(len(documents) / 100)}}
        elif answer.fault.kind != "missing_usage":
            found["usage"] = {"total_tokens": self.input_tokens}
        return found


class ModerationCall(MediaCall):
    name = "moderation"
    __slots__ = ()

    def check(self) -> None:
        self.texts("input")

    def body(self, answer: answers.Answer) -> dict[str, Any]:
        results = []
        for text in self.texts("input"):
            bad = "violence" in text.lower()
            scores = {"violence": 0.98 if bad else 0.01, "harassment": 0.01}
            results.append({"flagged": bad, "categories": {"violence": bad, "harassment": False}, "category_scores": scores})
        return {"id": f"modr-{answer.line.id}", "model": self.model, "results": results}


class ImageCall(MediaCall):
    """``/v1/images/generations``; edits and variations are forms."""

    name = "image"
    __slots__ = ("count",)

    def check(self) -> None:
        count = self.said.get("n") or 1
        try:
            self.count = int(count)
        except (TypeError, ValueError):
            raise Refused("'n' must be a number", param="n") from None
        if not 1 <= self.count <= 10:
            raise Refused("'n' must be from 1 to 10", param="n")
        self.input_tokens = input_tokens(str(self.said.get("prompt") or "-"))

    def output(self) -> int:
        return IMAGE_TOKENS * self.count if self._by_tokens() else 0

    def body(self, answer: answers.Answer) -> dict[str, Any]:
        given = [{"b64_json": base64.b64encode(picture(f"{self.said.get('prompt')}-{at}")).decode()} for at in range(self.count)]
        found: dict[str, Any] = {"created": answer.created, "data": given}
        if self._by_tokens():
            found |= {"size": self._or_auto("size", "1024x1024"), "quality": self._or_auto("quality", "medium"), "usage": self._usage()}
        return found

    def steps(self, answer: answers.Answer) -> Iterator[Step]:
        if self.said.get("stream") not in (True, "true"):
            return super().steps(answer)
        shown = base64.b64encode(picture(str(self.said.get("prompt")))).decode()
        partial = int(self.said.get("partial_images") or 0)
        events: list[dict[str, Any]] = [
            {"type": "image_generation.partial_image", "b64_json": shown, "partial_image_index": at} for at in range(partial)
        ]
        events.append({"type": "image_generation.completed", "b64_json": shown, "usage": self._usage()})
        return event_steps(answer, events, self.output())

    def _by_tokens(self) -> bool:
        return self.model.startswith("gpt-image")

    def _or_auto(self, field: str, chosen: str) -> str:
        value = self.said.get(field)
        return chosen if value in (None, "auto") else str(value)

    def _usage(self) -> dict[str, Any]:
        made = IMAGE_TOKENS * self.count
        details = {"text_tokens": self.input_tokens, "image_tokens": 0}
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": made,
            "total_tokens": self.input_tokens + made,
            "input_tokens_details": details,
        }


class ImageFormCall(ImageCall):
    __slots__ = ()

    def read(self, exchange: Exchange) -> dict[str, Any]:
        fields, files = form_of(exchange)
        if not any(name in files for name in ("image", "image[]")):
            raise Refused("'image' is required", param="image")
        return fields


class SpeechCall(MediaCall):
    name = "speech"
    __slots__ = ("text",)

    def check(self) -> None:
        text = self.said.get("input")
        if not isinstance(text, str) or not text:
            raise Refused("'input' must be a text", param="input")
        self.text = text
        self.input_tokens = text_tokens(text)

    def steps(self, answer: answers.Answer) -> Iterator[Step]:
        sound = silence(len(self.text) / CHARACTERS_A_SECOND)
        if self.said.get("stream_format") == "sse":
            pieces = [sound[at : at + 8_192] for at in range(0, len(sound), 8_192)]
            events: list[dict[str, Any]] = [{"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()} for piece in pieces]
            output = ceil(len(self.text) / CHARACTERS_A_SECOND * _TOKENS_A_SECOND * 2)
            usage = {"input_tokens": self.input_tokens, "output_tokens": output, "total_tokens": self.input_tokens + output}
            return event_steps(answer, [*events, {"type": "speech.audio.done", "usage": usage}], output)
        return byte_steps(answer, b"audio/wav", sound)


class TranscriptionCall(MediaCall):
    name = "transcription"
    __slots__ = ("seconds",)

    def __init__(self, exchange: Exchange) -> None:
        self.seconds = 0.0
        super().__init__(exchange)

    def read(self, exchange: Exchange) -> dict[str, Any]:
        fields, files = form_of(exchange)
        if "file" not in files:
            raise Refused("'file' is required", param="file")
        self.seconds = seconds_of(files["file"])
        return fields

    def check(self) -> None:
        if self._by_tokens():
            self.input_tokens = ceil(self.seconds * _TOKENS_A_SECOND)

    def steps(self, answer: answers.Answer) -> Iterator[Step]:
        wanted, text = self.said.get("response_format", "json"), self._text(answer)
        if self.said.get("stream") == "true":
            events: list[dict[str, Any]] = [{"type": "transcript.text.delta", "delta": f"{word} "} for word in text.split()]
            done = {"type": "transcript.text.done", "text": text, "usage": self._usage(text)}
            return event_steps(answer, [*events, done], text_tokens(text))
        if wanted == "text":
            return byte_steps(answer, b"text/plain; charset=utf-8", text.encode() + b"\n")
        if wanted == "srt":
            return byte_steps(answer, b"text/plain; charset=utf-8", f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n".encode())
        if wanted == "vtt":
            return byte_steps(answer, b"text/vtt; charset=utf-8", f"WEBVTT\n\n00:00.000 --> 00:01.000\n{text}\n".encode())
        return super().steps(answer)

    def body(self, answer: answers.Answer) -> dict[str, Any]:
        text = self._text(answer)
        found: dict[str, Any] = {"text": text}
        if self.said.get("response_format") == "verbose_json":
            found |= {"task": "transcribe", "language": "english", "duration": round(self.seconds, 2), "segments": []}
        if answer.fault.kind != "missing_usage":
            found["usage"] = self._usage(text)
        return found

    def _text(self, answer: answers.Answer) -> str:
        return content.completion_text(max(1, ceil(self.seconds * 2)), 1)

    def _by_tokens(self) -> bool:
        return "gpt-4o" in self.model

    def _usage(self, text: str) -> dict[str, Any]:
        if not self._by_tokens():
            return {"type": "duration", "seconds": ceil(self.seconds)}
        output = text_tokens(text)
        return {
            "type": "tokens",
            "input_tokens": self.input_tokens,
            "output_tokens": output,
            "total_tokens": self.input_tokens + output,
            "input_token_details": {"text_tokens": 0, "audio_tokens": self.input_tokens},
        }


class VectorCall(MediaCall):
    """Embeddings as Cohere, Ollama, Gemini, Vertex AI and Bedrock have them: where the texts are, and how the vectors come back."""

    name = "embeddings"
    __slots__ = ("inputs", "path")

    def __init__(self, exchange: Exchange) -> None:
        self.path = exchange.path
        super().__init__(exchange)

    def read(self, exchange: Exchange) -> dict[str, Any]:
        said = read_body(exchange.body)
        named = re.search(r"/models?/([^/:]+)", self.path)
        return said if named is None else {"model": named.group(1), **said}

    def check(self) -> None:
        said = self.said
        if "content" in said:
            self.inputs = ["".join(part.get("text", "") for part in said["content"]["parts"])]
            self.model = self.model.removeprefix("models/")
        elif "requests" in said:
            self.inputs = ["".join(part.get("text", "") for part in one["content"]["parts"]) for one in said["requests"]]
            self.model = self.model.removeprefix("models/")
        elif "instances" in said:
            self.inputs = [one["content"] for one in said["instances"]]
        elif "inputText" in said:
            self.inputs = [said["inputText"]]
        else:
            self.inputs = self.texts("texts" if "texts" in said else "input")
        if "texts" in said and not said.get("input_type"):
            raise Refused("'input_type' is required", param="input_type")
        self.input_tokens = sum(input_tokens(text) for text in self.inputs)

    def body(self, answer: answers.Answer) -> dict[str, Any]:
        said = self.said
        size = said.get("output_dimension") or said.get("dimensions") or answer.behaviour.embedding_dimensions
        if "content" in said:
            return {"embedding": {"values": self._vectors([said.get("outputDimensionality") or size])[0]}}
        if "requests" in said:
            vectors = self._vectors([one.get("outputDimensionality") or size for one in said["requests"]])
            return {"embeddings": [{"values": vector} for vector in vectors]}
        if "instances" in said:
            size = (said.get("parameters") or {}).get("outputDimensionality") or size
            counts = [input_tokens(text) for text in self.inputs]
            vectors = self._vectors([size] * len(self.inputs))
            pairs = zip(vectors, counts, strict=True)
            return {"predictions": [{"embeddings": {"values": v, "statistics": {"token_count": count}}} for v, count in pairs]}
        vectors = self._vectors([size] * len(self.inputs))
        if "inputText" in said:
            return {"embedding": vectors[0], "inputTextTokenCount": self.input_tokens}
        if "texts" in said:
            billed = {"billed_units": {"input_tokens": self.input_tokens}}
            return {"id": answer.line.id, "embeddings": {"float": vectors}, "texts": self.inputs, "meta": billed}
        return {"model": self.model, "embeddings": vectors, "prompt_eval_count": self.input_tokens}

    def _vectors(self, sizes: list[int]) -> list[list[float]]:
        return [content.embedding(text, size) for text, size in zip(self.inputs, sizes, strict=True)]


PATHS: dict[str, Callable[[Exchange], MediaCall]] = {
    "/v1/rerank": RerankCall,
    "/v2/rerank": RerankCall,
    "/v1/moderations": ModerationCall,
    "/v1/images/generations": ImageCall,
    "/v1/images/edits": ImageFormCall,
    "/v1/images/variations": ImageFormCall,
    "/v1/audio/speech": SpeechCall,
    "/v1/audio/transcriptions": TranscriptionCall,
    "/v1/audio/translations": TranscriptionCall,
    "/v2/embed": VectorCall,
    "/api/embed": VectorCall,
}
_VECTORS = re.compile(r".*/models/[^/]+:(?:batchEmbedContents|embedContent|predict)|/model/[^/]+/invoke")


def media_of(path: str) -> Callable[[Exchange], MediaCall] | None:
    """What is asked for at an address; None where it is nothing of these."""
    found = PATHS.get(path)
    return VectorCall if found is None and _VECTORS.fullmatch(path) else found


def form_of(exchange: Exchange) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(fields, files) of a form. Raises Refused."""
    kind = exchange.headers.get(b"content-type", b"")
    if not kind.startswith(b"multipart/form-data"):
        raise Refused("The body of your request must be multipart/form-data.")
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind + b"\r\n\r\n" + exchange.body)
    fields: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        held = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(held, bytes):
            continue
        if part.get_filename() is not None:
            files[name] = held
        else:
            fields[name] = held.decode("utf-8", "replace")
    return fields, files


def seconds_of(sound: bytes) -> float:
    try:
        with wave.open(io.BytesIO(sound)) as read:
            return float(read.getnframes() / read.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError):
        return len(sound) / BYTES_A_SECOND


def silence(seconds: float) -> bytes:
    """A WAV file in which nothing is heard."""
    held = io.BytesIO()
    with wave.open(held, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(SAMPLE_RATE)
        written.writeframes(bytes(2 * ceil(seconds * SAMPLE_RATE)))
    return held.getvalue()


def picture(seed: str) -> bytes:
    """A PNG of one pixel, of a colour that depends on the seed."""
    colour = zlib.crc32(seed.encode("utf-8", "surrogatepass")) & 0xFFFFFF

    def piece(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\0" + colour.to_bytes(3, "big"))
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", head) + piece(b"IDAT", pixel) + piece(b"IEND", b"")


def byte_steps(answer: answers.Answer, content_type: bytes, body: bytes) -> Iterator[Step]:
    """A body that is no JSON, in pieces; a ``cut`` ends it in the middle."""
    yield from answer.opening()
    answer.line.status = 200
    frame = chunk if answer.exchange.chunks else bytes
    yield answer.exchange.head(200, answer.headers + b"content-type: %b\r\n" % content_type, None)
    pieces = [body[at : at + 4_096] for at in range(0, len(body), 4_096)]
    if answer.fault.kind == "cut":
        yield frame(body[: len(body) // 2 or 1])
        yield answer.clock() + 0.0005
        answer.line.outcome = "cut"
        yield "reset" if answer.fault.rst else "close"
        return
    for piece in pieces:
        yield frame(piece)
    if answer.exchange.chunks:
        yield LAST_CHUNK


def event_steps(answer: answers.Answer, events: list[dict[str, Any]], output: int) -> Iterator[Step]:
    """A stream of events; a ``cut`` leaves out the last one."""
    yield from answer.opening()
    answer.line.status = 200
    answer.line.output_tokens = output
    frame = chunk if answer.exchange.chunks else bytes
    yield answer.exchange.head(200, answer.headers + SSE, None)
    cut = answer.fault.kind == "cut"
    for event in events[:-1] if cut else events:
        yield frame(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode({**event, SIMULATED: True})))
    if cut:
        yield answer.clock() + 0.0005
        answer.line.outcome = "cut"
        yield "reset" if answer.fault.rst else "close"
    elif answer.exchange.chunks:
        yield LAST_CHUNK
