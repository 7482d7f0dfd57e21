"""The usage record's wire form: round trips, growth by appended fields, and trimming to the journal's limits."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.journal import MAX_OPEN_PAYLOAD, MAX_PAYLOAD
from apps.contracts.usage import Attempt, Charge, OpenRecord, RecordError, Tokens, UsageRecord, decode_record, encode_bounded, encode_record

text = st.text(max_size=40)
count = st.integers(min_value=0, max_value=2**62)
tokens = st.builds(Tokens, input=count, output=count, cache_read=count, cache_write=count, reasoning=count)
charges = st.lists(st.builds(Charge, lease_id=count, reserved_nano=count), max_size=4)
outcome = st.sampled_from(["ok", "error", "cancelled", "refused", "unknown"])
attempts = st.builds(
    Attempt,
    provider=text,
    endpoint=text,
    model=text,
    simulated=st.booleans(),
    outcome=outcome,
    status=st.integers(0, 599),
    tokens=tokens,
    cost_nano=count,
    charges=charges,
)
records = st.builds(
    UsageRecord,
    id=st.binary(min_size=16, max_size=16),
    started_us=count,
    organisation=text,
    key_id=text,
    kind=st.sampled_from(["chat", "embeddings"]),
    route=text,
    requested_model=text,
    stream=st.booleans(),
    outcome=outcome,
    status=st.integers(0, 599),
    tags=st.lists(text, max_size=4),
    metadata=st.dictionaries(text, text, max_size=4),
    attempts=st.lists(attempts, max_size=3),
    tokens=tokens,
    cost_nano=count,
)
opens = st.builds(
    OpenRecord,
    id=st.binary(min_size=16, max_size=16),
    started_us=count,
    organisation=text,
    key_id=text,
    kind=st.sampled_from(["chat", "embeddings"]),
    route=text,
    requested_model=text,
    stream=st.booleans(),
    provider=text,
    endpoint=text,
    model=text,
    charges=charges,
    reserved_nano=count,
)


@given(records | opens)
def test_what_is_encoded_is_decoded(record: UsageRecord | OpenRecord) -> None:
    assert decode_record(encode_record(record)) == record


@given(records)
def test_a_reader_ignores_fields_that_a_newer_writer_appended(record: UsageRecord) -> None:
    fields = msgspec.msgpack.decode(encode_record(record))
    assert decode_record(msgspec.msgpack.encode([*fields, "a field of tomorrow", 7])) == record


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_with_our_error(payload: bytes) -> None:
    try:
        decode_record(payload)
    except RecordError:
        return
    assert payload[:1] in (b"\x9d", b"\xdc", b"\xdd") or payload[0] >> 4 == 9  # an array: it really was one of ours


@given(records, st.integers(1, 4000), st.text(min_size=1, max_size=3))
def test_a_record_always_fits_and_keeps_its_money(record: UsageRecord, repeat: int, piece: str) -> None:
    long = piece * repeat
    large = msgspec.structs.replace(
        record, user=long, tags=[long] * 20, metadata={f"{n}": long for n in range(16)}, requested_model=long, feature=long
    )
    payload = encode_bounded(large)
    assert len(payload) <= MAX_PAYLOAD
    kept = decode_record(payload)
    assert isinstance(kept, UsageRecord)
    assert (kept.id, kept.tokens, kept.cost_nano, kept.organisation, kept.key_id) == (
        large.id,
        large.tokens,
        large.cost_nano,
        large.organisation,
        large.key_id,
    )
    assert [(a.cost_nano, a.charges, a.tokens) for a in kept.attempts] == [(a.cost_nano, a.charges, a.tokens) for a in large.attempts]
    if len(encode_record(large)) > MAX_PAYLOAD:
        assert kept.metadata == {"bulkhead.trimmed": "metadata"}
    else:
        assert kept == large


@given(opens, st.integers(1, 4000))
def test_an_open_always_fits_and_keeps_its_reservation(opened: OpenRecord, repeat: int) -> None:
    large = msgspec.structs.replace(opened, user="ü" * repeat, tags=["tag" * repeat], requested_model="m" * repeat)
    payload = encode_bounded(large)
    assert len(payload) <= MAX_OPEN_PAYLOAD
    kept = decode_record(payload)
    assert isinstance(kept, OpenRecord)
    assert (kept.id, kept.charges, kept.reserved_nano) == (large.id, large.charges, large.reserved_nano)


def test_a_record_that_no_trimming_makes_fit_is_refused() -> None:
    attempt = Attempt(provider="p", endpoint="e", model="m", charges=[Charge(2**62, 2**62)] * 20)
    record = UsageRecord(
        id=b"0" * 16,
        started_us=1,
        organisation="o",
        key_id="k",
        kind="chat",
        route="r",
        requested_model="m",
        stream=False,
        outcome="ok",
        status=200,
        attempts=[attempt] * 60,
    )
    with pytest.raises(RecordError, match="does not fit"):
        encode_bounded(record)
