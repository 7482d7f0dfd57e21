"""W3C Trace Context (https://www.w3.org/TR/trace-context/): the headers that tie our work to the caller's trace. Pure.

A call's ``traceparent`` is continued: its trace id stays, its span becomes the parent of ours, and what upstreams are sent names a span of
ours as theirs. Our span ids follow from the request's id, so nothing has to be made, kept or recorded for them: that of the request is
the id's last eight bytes (62 of these bits are random), those of its attempts are the numbers after it. A call without the header begins a
trace of its own, whose id is the request's.

A ``traceparent`` that is not valid is as none; a ``tracestate`` that is not valid is dropped alone, as the recommendation says.
"""

from __future__ import annotations

import re

SAMPLED = 0x01
"""The flag by which a caller says that it records this trace."""
_FLAGS = 0x03
"""What is passed on of the flags: sampled, and random trace id; all others are reserved."""
PACKED = 25
"""Bytes of a trace in a usage record: trace id (16), the caller's span (8), flags (1)."""
MAX_STATE = 512
"""Bytes of ``tracestate`` that are passed on at most."""
LARGE_MEMBER = 128
"""Members longer than this go first where the list is too long."""
MAX_MEMBERS = 32

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY = rb"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER = re.compile(_KEY + rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_MASK = (1 << 64) - 1


class TraceContext:
    """A caller's trace, as its headers told. ``state``: a checked ``tracestate``, empty where there is none."""

    __slots__ = ("flags", "parent", "state", "trace_id")

    def __init__(self, trace_id: bytes, parent: bytes, flags: int, state: bytes = b"") -> None:
        self.trace_id = trace_id
        self.parent = parent
        self.flags = flags
        self.state = state

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)

    def packed(self) -> bytes:
        """As a usage record carries it, ``PACKED`` bytes; ``tracestate`` is passed on, not kept."""
        return b"%b%b%c" % (self.trace_id, self.parent, self.flags)

    def head(self, span: bytes) -> bytes:
        """Header lines for an upstream, whose parent is ``span``; each ends with its line break."""
        line = b"traceparent: 00-%b-%b-%02x\r\n" % (self.trace_id.hex().encode(), span.hex().encode(), self.flags)
        return line + b"tracestate: %b\r\n" % self.state if self.state else line


def trace_accept(parent: bytes, state: bytes | None) -> TraceContext | None:
    """The trace that a call belongs to; None where ``traceparent`` is not valid. Repeated headers come joined by commas."""
    found = _PARENT.fullmatch(parent.strip(b" \t"))
    if found is None:
        return None
    version, trace_id, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    trace, caller = bytes.fromhex(trace_id.decode()), bytes.fromhex(span.decode())
    if not any(trace) or not any(caller):
        return None
    members = state_members(state) if state is not None else None
    return TraceContext(trace, caller, int(flags, 16) & _FLAGS, state_kept(members) if members else b"")


def trace_unpack(packed: bytes) -> TraceContext | None:
    """What a record's ``trace`` says; None for an empty one, or one of another length."""
    if len(packed) != PACKED:
        return None
    return TraceContext(packed[:16], packed[16:24], packed[24])


def state_members(state: bytes) -> list[bytes] | None:
    """The members of a ``tracestate``, in order; None where it is not valid. Empty ones are allowed and left out (3.3.1.1)."""
    members = [member for part in state.split(b",") if (member := part.strip(b" \t"))]
    if len(members) > MAX_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return None
    keys = {member.partition(b"=")[0] for member in members}
    return members if len(keys) == len(members) else None


def state_kept(members: list[bytes]) -> bytes:
    """Members as one header of at most ``MAX_STATE`` bytes: whole ones are left out, large ones first, then from the end."""
    kept = list(members)
    if _length(kept) > MAX_STATE:
        for member in [member for member in reversed(members) if len(member) > LARGE_MEMBER]:
            kept.remove(member)
            if _length(kept) <= MAX_STATE:
                break
    while _length(kept) > MAX_STATE:
        kept.pop()
    return b",".join(kept)


def _length(members: list[bytes]) -> int:
    return sum(map(len, members)) + max(0, len(members) - 1)


def request_span(request_id: bytes) -> bytes:
    """Eight bytes: the span of the whole request. Its first bits are a UUID's variant, so it is never zero."""
    return request_id[8:16]


def attempt_span(request_id: bytes, number: int) -> bytes:
    """Eight bytes: the span of the request's attempt ``number`` (0 for the first one begun)."""
    return ((int.from_bytes(request_id[8:16], "big") + 1 + number) & _MASK).to_bytes(8, "big")
