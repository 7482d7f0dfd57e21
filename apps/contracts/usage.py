"""The usage record: everything that is known of one request, written once, by the proxy.

Dashboards, bills, traces, evidence and replay are derived from it; it never carries content.
Wire form: MessagePack arrays (msgspec, ``array_like``), framed by ``apps.contracts.journal``.
New fields are appended at the end with a default; none is ever removed or reordered.

No record can be part of a reference cycle, hence ``gc=False``: the collector need not look at them.

Times are microseconds: ``started_us`` since the epoch (database time as the proxy measured its
offset), all others relative to it. Money is nano-dollars. Tokens are counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from apps.contracts.journal import MAX_OPEN_PAYLOAD, MAX_PAYLOAD

Outcome = Literal["ok", "error", "cancelled", "refused", "unknown"]
"""ok: a whole answer was given. error: the app got an error or a broken stream. cancelled: the app
left. refused: the proxy said no before any upstream was called. unknown: the proxy died meanwhile;
settled at its reservation."""

Kind = Literal["chat", "embeddings", "rerank", "moderations", "images", "transcriptions", "translations", "speech"]
"""What was asked for; each has its own address."""


Role = Literal["first", "retry", "failover", "hedge", "rescue", "mirror"]
"""Why an attempt was made: retry is on the same target; rescue continues a stream that had broken off."""


class TokenDetails(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """What few answers have: tokens of sound and pictures, part of input and output; batch: the provider says that it gave the answer as
    batch work, at the price of that. cache_write_hour: of ``cache_write``, what was written to be kept for an hour. meters: what is
    billed and is no token, by meter (``apps.contracts.metering``): images, seconds, characters, searches."""

    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    batch: bool = False
    cache_write_hour: int = 0
    meters: dict[str, int] = {}


class Tokens(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """Counts by kind; input includes cache_read and cache_write, output includes reasoning. details: None where there are none."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    details: TokenDetails | None = None


def tokens_total(parts: Iterable[Tokens]) -> Tokens:
    """The counts of several attempts in one; ``batch`` only where it holds for all that have any."""
    total = Tokens()
    details: list[TokenDetails] = []
    for part in parts:
        total.input += part.input
        total.output += part.output
        total.cache_read += part.cache_read
        total.cache_write += part.cache_write
        total.reasoning += part.reasoning
        if part.details is not None:
            details.append(part.details)
    if details:
        meters: dict[str, int] = {}
        for one in details:
            for meter, count in one.meters.items():
                meters[meter] = meters.get(meter, 0) + count
        total.details = TokenDetails(
            audio_input=sum(one.audio_input for one in details),
            audio_output=sum(one.audio_output for one in details),
            image_input=sum(one.image_input for one in details),
            image_output=sum(one.image_output for one in details),
            batch=all(one.batch for one in details),
            cache_write_hour=sum(one.cache_write_hour for one in details),
            meters=meters,
        )
    return total


class Charge(msgspec.Struct, array_like=True, gc=False):
    """A reservation on one lease; the attempt's whole cost settles against each of its charges."""

    lease_id: int
    reserved_nano: int


class Attempt(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """One try at one target.

    sent_us, first_byte_us, ended_us: offsets from the request's start; first_byte_us -1 when none came.
    estimated: tokens and cost are an upper bound, because the provider reported none.
    """

    provider: str
    endpoint: str
    model: str
    region: str = ""
    simulated: bool = False
    outcome: Outcome = "ok"
    status: int = 0
    error_code: str = ""
    sent_us: int = 0
    first_byte_us: int = -1
    ended_us: int = 0
    tokens: Tokens = msgspec.field(default_factory=Tokens)
    cost_nano: int = 0
    price_version: str = ""
    estimated: bool = False
    charges: list[Charge] = msgspec.field(default_factory=list)
    upstream_request_id: str = ""
    role: Role = "first"
    number: int = 0
    """Which attempt of its request it was, in the order in which they were begun: by it, its span is named."""


class UsageRecord(msgspec.Struct, array_like=True, kw_only=True, tag="usage", gc=False):
    """The full record of one request, journalled before the last byte goes to the app."""

    id: bytes
    started_us: int
    organisation: str
    key_id: str
    kind: Kind
    route: str
    """Name of the route that served it; empty when none was found."""
    requested_model: str
    stream: bool
    outcome: Outcome
    status: int
    error_code: str = ""
    error_step: str = ""
    environment: str = "production"
    feature: str = ""
    tags: list[str] = msgspec.field(default_factory=list)
    user: str = ""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    team: str = ""
    service: str = ""
    simulated: bool = False
    config_version: int = 0
    flags: list[str] = msgspec.field(default_factory=list)
    """Names of the flags that were on and had a say."""
    input_hash: str = ""
    """Hex HMAC of the request body; equal inputs are recognisable, none is readable."""
    attempts: list[Attempt] = msgspec.field(default_factory=list)
    tokens: Tokens = msgspec.field(default_factory=Tokens)
    """Summed over attempts, so that nothing paid for is missing."""
    cost_nano: int = 0
    estimated: bool = False
    first_token_us: int = -1
    total_us: int = 0
    upstream_us: int = 0
    """Time spent waiting for upstreams; total_us - upstream_us is ours."""
    bytes_in: int = 0
    bytes_out: int = 0
    proxy: str = ""
    """Boot id of the proxy process."""
    trace: bytes = b""
    """Of the caller's trace, its id, its span and its flags (``apps.contracts.traceparent.trace_unpack``); empty where it sent none."""


class OpenRecord(msgspec.Struct, array_like=True, kw_only=True, tag="open", gc=False):
    """Written before an upstream is called, once per attempt: what may have been spent if we die now.

    The record with the same ``id`` closes all opens of that id.
    """

    id: bytes
    started_us: int
    organisation: str
    key_id: str
    kind: Kind
    route: str
    requested_model: str
    stream: bool
    provider: str
    endpoint: str
    model: str
    region: str = ""
    simulated: bool = False
    price_version: str = ""
    charges: list[Charge] = msgspec.field(default_factory=list)
    reserved_nano: int = 0
    """The attempt's upper bound, also where no budget held a reservation."""
    attempt: int = 0
    environment: str = "production"
    feature: str = ""
    tags: list[str] = msgspec.field(default_factory=list)
    user: str = ""
    team: str = ""
    service: str = ""
    config_version: int = 0


Record = OpenRecord | UsageRecord

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[OpenRecord | UsageRecord] = msgspec.msgpack.Decoder(OpenRecord | UsageRecord)


class RecordError(ValueError):
    """Bytes that are no record of ours."""


encode_record = _encoder.encode


def decode_record(payload: bytes | memoryview) -> Record:
    """An open or full record. Raises RecordError."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(str(error)) from error


def full_record_start(id: bytes) -> bytes:
    """The first bytes of the full record with this id, as it lies in a journal."""
    record = UsageRecord(
        id=id, started_us=0, organisation="", key_id="", kind="chat", route="", requested_model="", stream=False, outcome="ok", status=0
    )
    payload = _encoder.encode(record)
    return payload[: payload.index(id) + len(id)]


def encode_bounded(record: Record) -> bytes:
    """The record's bytes, trimmed where the journal's limits ask for it (``MAX_PAYLOAD``, ``MAX_OPEN_PAYLOAD``).

    What an app sent is cut first (metadata, tags, user, long names); money, tokens, charges and ids never are.
    A trimmed full record says so in ``metadata["bulkhead.trimmed"]``. Raises RecordError where even
    that is not enough, which takes far more attempts than one reservation of the journal allows.
    """
    payload = _encoder.encode(record)
    limit = MAX_PAYLOAD if type(record) is UsageRecord else MAX_OPEN_PAYLOAD
    if len(payload) <= limit:
        return payload
    for width in (256, 64, 24):
        payload = _encoder.encode(_trimmed(record, width))
        if len(payload) <= limit:
            return payload
    raise RecordError(f"a record of {len(payload)} bytes does not fit the journal's {limit}, even trimmed")


def _cut(text: str, width: int) -> str:
    """At most ``width`` bytes of UTF-8, never half a character."""
    raw = text.encode()
    return text if len(raw) <= width else raw[:width].decode("utf-8", "ignore")


def _trimmed(record: Record, width: int) -> Record:
    names = {
        name: _cut(value, width)
        for name in record.__struct_fields__
        if isinstance(value := getattr(record, name), str) and name not in _IDS
    }
    if isinstance(record, OpenRecord):
        return msgspec.structs.replace(record, **names, tags=[])
    attempts = [
        msgspec.structs.replace(
            attempt, **{name: _cut(value, width) for name in attempt.__struct_fields__ if isinstance(value := getattr(attempt, name), str)}
        )
        for attempt in record.attempts
    ]
    tags = [_cut(tag, width) for tag in record.tags[:8]]
    flags = [_cut(flag, width) for flag in record.flags[:16]]
    return msgspec.structs.replace(record, **names, attempts=attempts, tags=tags, flags=flags, metadata={"bulkhead.trimmed": "metadata"})


_IDS = frozenset({"organisation", "key_id", "kind", "outcome", "team", "service", "proxy", "input_hash"})
