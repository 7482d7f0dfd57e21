"""The words of Gemini's format that both directions use: why an answer ended, what a status is called, what a file is.

Source: Google's reference of the Gemini API (``generateContent``, ``Candidate.FinishReason``, ``google.rpc.Code``).
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

FINISHED = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "OTHER": "content_filter",
}
"""Why an answer ended, in the pivot's words. A reason that is not here is told as content_filter: never as whole."""
BROKEN = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
        "NO_IMAGE",
        "IMAGE_OTHER",
    }
)
"""The model tried and failed: there is no answer, and another attempt may have one."""
NOT_YET = frozenset({"", "FINISH_REASON_UNSPECIFIED"})
PROMPT_BLOCKED = "promptFeedback.blockReason="
"""Opens ``native_finish_reason`` where not the answer but the prompt was blocked; the reason follows."""
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""``google.rpc.Code`` of an HTTP status; other 4xx are INVALID_ARGUMENT, other 5xx INTERNAL."""
MODEL = re.compile(r"(?:^|/)gemini-(\d+)(?:\.(\d+))?")
SKIP_SIGNATURE = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
"""What Google documents for a function call that none of its models made: Gemini 3 refuses a call of this turn without a signature."""
MAX_SEED = 2**31 - 1
_MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "aiff": "audio/aiff",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "mov": "video/mov",
    "webm": "video/webm",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "css": "text/css",
    "csv": "text/csv",
    "xml": "text/xml",
    "json": "application/json",
}
_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mp3": "mp3", "audio/mpeg": "mp3"}
AUDIO_TYPES = {"wav": "audio/wav", "mp3": "audio/mp3", "flac": "audio/flac", "ogg": "audio/ogg", "aac": "audio/aac", "aiff": "audio/aiff"}
"""Media types by the ``format`` of an ``input_audio`` part."""


def generation(model: str) -> tuple[int, int]:
    """(3, 1) of ``gemini-3.1-flash-lite``; (0, 0) of a name that does not say."""
    found = MODEL.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def status_of(code: int) -> str:
    return STATUSES.get(code) or ("INTERNAL" if code >= 500 else "INVALID_ARGUMENT")


def media_type_of(address: str) -> str | None:
    """What the last part of an address or of a file's name says; None where it says nothing."""
    path = urlsplit(address).path if "//" in address else address
    _, dot, ending = path.rpartition(".")
    return _MEDIA_TYPES.get(ending.lower()) if dot else None


def audio_format(media_type: str) -> str | None:
    """``format`` of an ``input_audio`` part: OpenAI knows wav and mp3."""
    return _AUDIO.get(media_type)
