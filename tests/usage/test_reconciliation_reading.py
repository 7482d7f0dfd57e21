"""Reading providers' exports: each shape, and everything that refuses a file, by line."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.usage.reconciliation_reading import MOST_BYTES, Export, Figures, ReadingError
from apps.usage.reconciliation_rules import STATES, compare, model_key, total
from apps.usage.reconciliation_shapes import provider_export_read

FIRST, SECOND = 1_759_622_400, 1_759_708_800  # 5 and 6 October 2025, UTC
DAY = 86_400


def read(document: Any) -> Export:
    return provider_export_read(document.encode() if isinstance(document, str) else json.dumps(document).encode())


def figures(export: Export) -> dict[tuple[str, str], tuple[int | None, ...]]:
    return {(str(d), m): (f.requests, f.tokens_input, f.tokens_output, f.cost_nano) for (d, m), f in export.sums.items()}


def openai_page(*results: dict[str, Any], start: int = FIRST, **more: Any) -> dict[str, Any]:
    bucket = {"object": "bucket", "start_time": start, "end_time": start + DAY, "results": list(results)}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None, **more}


USAGE = {
    "object": "organization.usage.completions.result", "input_tokens": 1000, "output_tokens": 500, "input_cached_tokens": 800,
    "num_model_requests": 5, "project_id": None, "model": "gpt-4o-2024-08-06", "batch": None,
}  # fmt: skip
COST = {"object": "organization.costs.result", "amount": {"value": 0.06, "currency": "usd"}, "line_item": "gpt-4o-2024-08-06, input"}


def test_openai_usage_json_with_several_results_pages_and_empty_buckets() -> None:
    more = {**USAGE, "num_model_requests": 1, "input_tokens": 1, "output_tokens": 2}
    empty = openai_page(start=SECOND)
    export = read([openai_page(USAGE, more, has_more=True), empty])
    assert figures(export) == {("2025-10-05", "gpt-4o-2024-08-06"): (6, 1001, 502, None)}
    assert (export.shape, export.first, export.last, export.part) == ("openai-usage-json", date(2025, 10, 5), date(2025, 10, 6), False)
    assert read(openai_page(USAGE, has_more=True)).part


def test_openai_costs_json_is_exact_and_by_line_item() -> None:
    export = read(openai_page(COST, {**COST, "line_item": "gpt-4o-2024-08-06, output", "amount": {"value": 0.1, "currency": "usd"}}))
    assert figures(export) == {("2025-10-05", "gpt-4o-2024-08-06"): (None, None, None, 160_000_000)}
    assert figures(read(openai_page({**COST, "line_item": None}))) == {("2025-10-05", ""): (None, None, None, 60_000_000)}


def test_openai_csv_files() -> None:
    usage = "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,model,batch,input_tokens,output_tokens\n"
    usage += f"{FIRST},{FIRST + 60},,,,3,gpt-4o,,10,20\n{FIRST + 60},{FIRST + 120},,,,1,gpt-4o,,1,2\n{SECOND},{SECOND + DAY},,,,,,,,\n"
    export = read(usage)
    assert figures(export) == {("2025-10-05", "gpt-4o"): (4, 11, 22, None)}
    assert (export.last, export.rows) == (date(2025, 10, 6), 3)
    costs = "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n"
    costs += f'{FIRST},{SECOND},,,0.8958740000000000,usd,,\n{SECOND},{SECOND + DAY},,,-0.5,usd,"gpt-4o, output",\n'
    assert figures(read(costs)) == {
        ("2025-10-05", ""): (None, None, None, 895_874_000),
        ("2025-10-06", "gpt-4o"): (None, None, None, -500_000_000),
    }
    assert figures(read(costs.replace(",", "\t").replace('"gpt-4o\t output"', '"gpt-4o, output"'))) == figures(read(costs))


def anthropic_page(*results: dict[str, Any]) -> dict[str, Any]:
    bucket = {"starting_at": "2025-08-01T00:00:00Z", "ending_at": "2025-08-02T00:00:00Z", "results": list(results)}
    return {"data": [bucket], "has_more": False, "next_page": None}


def test_anthropic_usage_counts_caches_as_input() -> None:
    result = {
        "uncached_input_tokens": 1500, "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500},
        "cache_read_input_tokens": 200, "output_tokens": 500, "model": "claude-sonnet-4-20250514", "server_tool_use": {},
    }  # fmt: skip
    export = read(anthropic_page(result))
    assert figures(export) == {("2025-08-01", "claude-sonnet-4-20250514"): (None, 3200, 500, None)}
    heads = "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    heads += "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens\n"
    table = heads + '2025-08-01,claude-sonnet-4-20250514,"a, b",Default,standard,≤ 200k,1500,500,1000,200,500\n'
    assert figures(read(table)) == figures(export)
    assert figures(read("\ufeff" + table.replace("\n", "\r\n"))) == figures(export)


def test_anthropic_costs_are_cents_in_json_and_dollars_in_csv() -> None:
    result = {"amount": "123.78912", "currency": "USD", "cost_type": "tokens", "model": "claude-sonnet-4-20250514"}
    assert figures(read(anthropic_page(result))) == {("2025-08-01", "claude-sonnet-4-20250514"): (None, None, None, 1_237_891_200)}
    table = "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd\n"
    table += "2025-08-01,Claude Haiku 4.5,Default,k,message,≤ 200k,input_no_cache,0.05,0.05\n"
    assert figures(read(table)) == {("2025-08-01", "Claude Haiku 4.5"): (None, None, None, 50_000_000)}


CSV_HEAD = "usage_date_utc,model,cost_usd\n"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("", "empty"),
        ("a,b\n1,2\n", "of no export that is known"),
        ('{"data": []}', "No result in it is of a known export"),
        ('{"rows": []}', "no answer of a usage or cost API"),
        ('{"data": [', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        (CSV_HEAD, "has no row"),
        (CSV_HEAD + "2025-08-01,m,1\n2025-13-01,m,1\n", "line 3: usage_date_utc is '2025-13-01', not a day"),
        (CSV_HEAD + "2025-08-01,m,NaN\n", "line 2: cost_usd is 'NaN', not an amount"),
        (CSV_HEAD + "2025-08-01,m,1e400\n", "line 2: cost_usd is '1e400', not an amount"),
        (CSV_HEAD + "2025-08-01,m\n", "line 2: it has not as many cells"),
        (CSV_HEAD + '2025-08-01,"m\nn",1\n2025-08-01,m,x\n', "line 2: the model's name"),
        (CSV_HEAD + '2025-08-01,"m\nn",1\n2025-08-01,m,x\n', "line 4: cost_usd is 'x'"),
        (CSV_HEAD + "1999-08-01,m,1\n", "before 2020-01-01 or in the future"),
        (CSV_HEAD + "9999-12-31,m,1\n", "or in the future"),
        (CSV_HEAD + "2025-08-01,m,1\n" + '"', "line 3"),
        (openai_page({**USAGE, "input_tokens": -1}), "data[0].results[0]: input_tokens is '-1', not a count"),
        (openai_page({**USAGE, "input_tokens": 1.5}), "data[0].results[0]: input_tokens is '1.5', not a count"),
        (openai_page({**USAGE, "input_tokens": True}), "not a count"),
        (openai_page(USAGE, {"object": "organization.usage.images.result"}), "data[0].results[1]: it is no result of OpenAI Usage API"),
        (openai_page({**COST, "amount": {"value": 1, "currency": "eur"}}), "amounts are compared in US dollars only"),
        (openai_page({**COST, "amount": {"value": "x", "currency": "usd"}}), "amount.value is 'x', not an amount"),
        (openai_page({**COST, "amount": {}}), "amount has no value"),
        (openai_page(USAGE, start=-5), "not seconds since 1970"),
        ({"data": [{"results": [USAGE], "start_time": FIRST, "end_time": FIRST + 2 * DAY}]}, "spans more than a day"),
        ({"data": [{"results": [USAGE], "start_time": FIRST}, "x"]}, "data[1]: a bucket has a list of results"),
    ],
)
def test_what_cannot_be_read_is_named_and_refuses_the_whole_file(document: Any, says: str) -> None:
    with pytest.raises(ReadingError) as refused:
        read(document)
    assert says in str(refused.value), refused.value


def test_many_broken_rows_are_counted_and_the_first_are_named() -> None:
    with pytest.raises(ReadingError) as refused:
        read(CSV_HEAD + "2025-08-01,m,x\n" * 30 + "2025-08-01,m,1\n")
    assert "30 of 31 rows cannot be read, so nothing was imported" in str(refused.value)
    assert len(refused.value.rows) == 20 and "and 10 more" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "says"), [(b"\xff\xfe\x00a", "not UTF-8"), (b"PK\x00\x00a", "not text"), (b"a" * (MOST_BYTES + 1), "MB")]
)
def test_files_that_are_no_text_or_too_large_are_refused(content: bytes, says: str) -> None:
    with pytest.raises(ReadingError, match=says):
        provider_export_read(content)


@given(st.binary(max_size=300))
def test_whatever_is_sent_is_read_or_refused(content: bytes) -> None:
    with suppress(ReadingError):  # any other error fails
        assert provider_export_read(content).rows


NAMES = ["gpt-4o", "gpt-4o-2024-08-06", "Claude Haiku 4.5", "claude-haiku-4-5-20251001", ""]
AMOUNTS = st.none() | st.integers(-(10**12), 10**12)
SIDES = st.dictionaries(
    st.tuples(st.dates(date(2026, 1, 1), date(2026, 1, 3)), st.sampled_from(NAMES)),
    st.builds(Figures, st.just(1), st.integers(0, 10**9), st.integers(0, 10**9), AMOUNTS),
    max_size=8,
)


@given(SIDES, SIDES)
def test_nothing_is_lost_or_counted_twice_in_a_comparison(theirs: Any, ours: Any) -> None:
    lines = compare(theirs, ours)
    for side, given_, read_ in (("theirs", theirs, "tokens_theirs"), ("ours", ours, "tokens_ours")):
        if theirs:
            expected = sum(each.tokens_input + each.tokens_output for each in given_.values())
            assert sum(getattr(line, read_) or 0 for line in lines) == expected, side
    assert len({(line.day, model_key(line.model)) for line in lines}) == len(lines)
    assert all(line.state in STATES and (line.state == "theirs") == (line.ours is None) for line in lines)
    whole = total(lines)
    if whole is not None and whole.theirs is not None and whole.theirs.cost_nano is not None:
        assert sum(line.cost_difference or 0 for line in lines) == whole.cost_difference


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Claude Haiku 4.5", "claude-haiku-4-5-20251001"),
        ("Claude 3.5 Sonnet 2024-10-22", "claude-3-5-sonnet-20241022"),
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022"),
    ],
)
def test_names_of_one_model_fall_together(one: str, other: str) -> None:
    assert model_key(one) == model_key(other)
    assert model_key("gpt-4o") != model_key("gpt-4o-mini") and model_key("gpt-4-0613") != model_key("gpt-4")
