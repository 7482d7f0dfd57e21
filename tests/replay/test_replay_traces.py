"""Reading traces: both formats, broken rows named, the rest kept; prompts of exactly the recorded size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.simulator.counting import prompt_tokens
from controlplane.replay.prompts import Bodies, prompt_text
from controlplane.replay.traces import BadRow, Row, TraceError, parse_trace, read_trace

MATERIAL = Path(__file__).resolve().parents[2].parent / "shared" / "material" / "traces"
HEADER = b"TIMESTAMP,ContextTokens,GeneratedTokens\n"


def material(name: str) -> Path:
    path = MATERIAL / name
    if not path.is_file():
        pytest.skip(f"test material is absent: {path}")
    return path


def test_azure() -> None:
    trace = parse_trace([HEADER, b"2023-11-16 18:15:46.6805900,374,44\r\n", b"2023-11-16 18:15:50.9951690,396,0\r\n", b"\r\n"])
    assert (trace.format, trace.bad) == ("azure", [])
    assert [(row.line, row.input_tokens, row.output_tokens) for row in trace.rows] == [(2, 374, 44), (3, 396, 0)]
    assert trace.rows[1].at - trace.rows[0].at == pytest.approx(4.314579, abs=1e-6)


def test_azure_columns_in_any_order_with_more_of_them_and_a_bom() -> None:
    trace = parse_trace([b"\xef\xbb\xbfid,generatedtokens,TIMESTAMP,ContextTokens\n", b"x,5,2024-05-10T00:00:00+00:00,7\n"])
    assert [(row.input_tokens, row.output_tokens) for row in trace.rows] == [(7, 5)]


def test_mooncake() -> None:
    lines = [b'{"timestamp": 27482, "input_length": 1025, "output_length": 52, "hash_ids": [46, 47, 2353]}\n']
    trace = parse_trace(lines)
    assert (trace.format, trace.rows) == ("mooncake", [Row(1, 27.482, 1025, 52, (46, 47, 2353))])


def test_rows_are_sorted_by_arrival_and_limited() -> None:
    lines = [HEADER, b"2023-11-16 18:15:02,2,2\n", b"2023-11-16 18:15:01,1,1\n", b"2023-11-16 18:15:03,3,3\n"]
    assert [row.input_tokens for row in parse_trace(lines, limit=2).rows] == [1, 2]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"2023-11-16 18:15:46,374", "has 2 columns instead of 3"),
        (b"2023-11-16 18:15:46,374,44,1", "has 4 columns instead of 3"),
        (b"yesterday,374,44", "TIMESTAMP 'yesterday' is not a time"),
        (b",374,44", "TIMESTAMP '' is not a time"),
        (b"2023-11-16 18:15:46,many,44", "ContextTokens 'many' is not a whole number"),
        (b"2023-11-16 18:15:46,3.5,44", "ContextTokens '3.5' is not a whole number"),
        (b"2023-11-16 18:15:46,0,44", "ContextTokens 0 is not from 1"),
        (b"2023-11-16 18:15:46,9999999999,44", "ContextTokens 9999999999 is not from 1"),
        (b"2023-11-16 18:15:46,5,-1", "GeneratedTokens -1 is not from 0"),
        (b"2023-11-16 18:15:46,5,", "GeneratedTokens '' is not a whole number"),
        (b"\xff\xfe,5,5", "is not UTF-8"),
        (b"2023-11-16 18:15:46,5,\xd9\xa3", "is not a whole number"),
    ],
)
def test_broken_azure_rows_are_named_and_the_rest_kept(line: bytes, reason: str) -> None:
    trace = parse_trace([HEADER, b"2023-11-16 18:15:45,1,1\n", line + b"\n", b"2023-11-16 18:15:47,2,2\n"])
    assert [row.line for row in trace.rows] == [2, 4]
    [bad] = trace.bad
    assert bad.line == 3 and reason in bad.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b'{"timestamp": "x", "input_length": 5, "output_length": 5}', "timestamp 'x' is not a number"),
        (b'{"input_length": 5, "output_length": 5}', "timestamp is missing"),
        (b'{"timestamp": 1, "output_length": 5}', "input_length is missing"),
        (b'{"timestamp": 1, "input_length": true, "output_length": 5}', "input_length 'True' is not a whole number"),
        (b'{"timestamp": 1, "input_length": 0, "output_length": 5}', "input_length 0 is not from 1"),
        (b'{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": "x"}', "hash_ids is not a list"),
        (b'{"timestamp": 1, "input_length": 513, "output_length": 5, "hash_ids": [1]}', "513 input tokens are 2 of 512"),
    ],
)
def test_broken_mooncake_rows_are_named_and_the_rest_kept(line: bytes, reason: str) -> None:
    good = b'{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": [1]}'
    trace = parse_trace([line, good, line])
    assert [row.line for row in trace.rows] == [2]
    assert [bad.line for bad in trace.bad] == [1, 3] and reason in trace.bad[0].reason


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a,b,c\n1,2,3\n", b'{"other": 1}\n', b"\x00\xff\x00", b"<html>"])
def test_no_trace_at_all(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trace"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"trace is (empty|no trace)"):
        read_trace(path)


@given(st.lists(st.binary(max_size=80).filter(lambda line: b"\n" not in line), max_size=20))
def test_any_bytes_are_rows_or_named(lines: list[bytes]) -> None:
    trace = parse_trace([HEADER, *lines])
    assert len(trace.rows) + len(trace.bad) == sum(1 for line in lines if line.strip())
    assert all(isinstance(bad, BadRow) and bad.reason for bad in trace.bad)


def test_the_azure_trace_reads_whole() -> None:
    trace = read_trace(material("azure/AzureLLMInferenceTrace_conv.csv"))
    assert (trace.format, len(trace.rows), trace.bad) == ("azure", 19_366, [])


def test_the_mooncake_trace_reads_whole() -> None:
    trace = read_trace(material("mooncake/conversation_trace.jsonl"))
    assert (trace.format, len(trace.rows), trace.bad) == ("mooncake", 12_031, [])


# prompts


def counted(row: Row, *, stream: bool = False) -> int:
    body = json.loads(Bodies('a "model"').body(row, stream=stream))
    assert body["model"] == 'a "model"'
    assert body["bulkhead_sim"]["output_tokens"] == row.output_tokens
    assert body["max_tokens"] == max(1, row.output_tokens)
    assert ("stream" in body) is stream
    return prompt_tokens(body["messages"])


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 20_000), st.integers(0, 5000), st.booleans())
def test_prompts_count_exactly_as_recorded(line: int, tokens: int, output: int, stream: bool) -> None:
    row = Row(line, 0.0, tokens, output)
    assert counted(row, stream=stream) == tokens
    blocks = tuple(range(line, line + -(-tokens // 512)))
    assert counted(Row(line, 0.0, tokens, output, blocks)) == tokens


@given(st.integers(1, 400_000))
def test_one_very_large_prompt(tokens: int) -> None:
    assert len(prompt_text(Row(1, 0.0, tokens, 1))) == tokens * 4


def test_equal_blocks_are_equal_prefixes_and_nothing_else_is() -> None:
    first = prompt_text(Row(1, 0.0, 1500, 1, (7, 8, 9)))
    second = prompt_text(Row(2, 0.0, 1100, 1, (7, 8, 10)))
    assert first[: 1024 * 4] == second[: 1024 * 4]
    assert first[1024 * 4 : 1026 * 4 + 4] != second[1024 * 4 : 1026 * 4 + 4]
    assert prompt_text(Row(1, 0.0, 100, 1)) != prompt_text(Row(2, 0.0, 100, 1))


def test_plain_requests_carry_no_field_that_a_real_provider_refuses() -> None:
    body = json.loads(Bodies("m", exact=False).body(Row(1, 0.0, 5, 9), stream=False))
    assert set(body) == {"model", "messages", "max_tokens"}
