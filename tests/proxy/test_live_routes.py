"""Which target answers, and what the app may say about it: order, deadlines, splits, windows, levels, headers, dry runs."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.proxy.lab import NARROW, Lab

HEADERS = {
    "x-bulkhead-request-id": r"[0-9a-f-]{36}",
    "x-bulkhead-route": "over",
    "x-bulkhead-target": "(east|west)/main/over",
    "x-bulkhead-attempts": r"\d",
    "x-bulkhead-fallback": "true|false",
    "x-bulkhead-cache": "off",
    "x-bulkhead-config": r"\d+",
    "x-bulkhead-degradation": "full",
}
"""Of every answer that a target gave."""
JSON_HEADERS = {"x-bulkhead-cost-usd": r"\d+\.\d{9}", "x-bulkhead-cost-nano": r"\d+", "x-bulkhead-overhead-ms": r"\d+\.\d{3}"}
"""Known only when the answer is whole: streams have them in ``GET /v1/requests/{id}``."""


@pytest.mark.parametrize("stream", [False, True])
def test_failing_over_and_its_headers(lab: Lab, stream: bool) -> None:
    lab.script("east", "over", "503x2")
    got = lab.ask("over", stream=stream)
    assert got.whole
    assert lab.roles(got) == [("east", "first", "error"), ("east", "retry", "error"), ("west", "failover", "ok")]
    for name, pattern in {**HEADERS, **({} if stream else JSON_HEADERS)}.items():
        assert re.fullmatch(pattern, got.headers[name]), (name, got.headers.get(name))
    assert (got.headers["x-bulkhead-attempts"], got.headers["x-bulkhead-fallback"]) == ("3", "true")
    assert lab.ask("over", stream=stream).headers["x-bulkhead-fallback"] == "false"


@pytest.mark.parametrize("spelling", ["seconds", "ms", "azure", "date"])
def test_a_pause_that_was_asked_for_is_kept(lab: Lab, spelling: str) -> None:
    lab.script("east", f"wait-{spelling}", f"429:retry-after=0.6,spelling={spelling}x1")
    got = lab.ask(f"wait-{spelling}")
    assert got.whole and lab.roles(got) == [("east", "first", "error"), ("east", "retry", "ok")]
    first, second = lab.record(got)["attempts"]
    waited = (second["sent_us"] - first["ended_us"]) / 1e6
    assert waited >= (0.6 if spelling != "date" else 0.0)


def test_a_pause_that_does_not_fit_is_not_waited_for(lab: Lab) -> None:
    lab.script("east", "wait-seconds", "429:retry-after=3600x9")
    got = lab.ask("wait-seconds")
    assert (got.status, got.headers.get("retry-after")) == (429, None) and got.seconds < 20
    lab.script("east", "wait-ms", "429:retry-after=5,spelling=msx9")
    assert lab.ask("wait-ms", headers={"x-bulkhead-timeout-ms": "1500"}).status == 429


def test_who_asked_to_be_left_alone_is_left_alone(lab: Lab) -> None:
    lab.script("east", "over-429", "429:retry-after=30x9")
    first, second = lab.ask("over-429"), lab.ask("over-429")
    assert first.whole and lab.roles(first) == [("east", "first", "error"), ("west", "failover", "ok")]
    assert second.whole and lab.roles(second) == [("west", "first", "ok")]


def test_a_dead_provider_is_not_buried_in_retries(lab: Lab) -> None:
    lab.script("east", "storm", "500x1000")
    assert {lab.ask("storm").status for _ in range(40)} == {500}
    assert 40 <= len(lab.seen("east", "storm")) <= 40 + 10 + 8, "each request once, ten more, and one more for each five"


def test_the_app_may_be_in_a_greater_hurry(lab: Lab) -> None:
    lab.script("east", "broken", "stall:where=headersx9")
    got = lab.ask("broken", headers={"x-bulkhead-timeout-ms": "400"})
    assert (got.status, got.code) == (504, "upstream_timeout") and got.seconds < 20
    assert len(lab.roles(got)) == 1, "silence is not asked again"
    for value in ("0", "soon", "-5", ""):
        refused = lab.ask("plain", headers={"x-bulkhead-timeout-ms": value})
        assert (refused.status, refused.code) == (400, "invalid_field"), value


@pytest.mark.parametrize("fault", ["stall:where=headers", "stall:where=first_token"])
def test_nothing_is_given_before_real_output_shows(lab: Lab, fault: str) -> None:
    lab.script("east", "gate", f"{fault}x1")
    got = lab.ask("gate", stream=True)
    assert got.whole and lab.roles(got) == [("east", "first", "error"), ("west", "failover", "ok")]
    assert lab.record(got)["attempts"][0]["error_code"] == "upstream_timeout"


def test_a_model_that_thinks_first_may_take_its_time(lab: Lab) -> None:
    for fault in ("stall:where=headers,seconds=1.5x1", "stall:where=first_token,seconds=1.5x1"):
        lab.script("east", "thinking", fault)
        got = lab.ask("thinking", stream=True)
        assert got.whole and len(lab.roles(got)) == 1
    lab.script("east", "slow", "stall:where=headers,seconds=5x9")
    assert lab.ask("slow", stream=True).code == "upstream_timeout"


def test_the_apps_own_fallbacks(lab: Lab) -> None:
    lab.script("east", "broken", "500x20")
    got = lab.ask("broken", headers={"x-bulkhead-fallbacks": "plain-west"})
    assert got.whole and got.headers["x-bulkhead-target"] == "west/main/plain-west" and got.headers["x-bulkhead-fallback"] == "true"
    assert [role for _, role, _ in lab.roles(got)] == ["first", "retry", "failover"]
    assert lab.ask("broken", headers={"x-bulkhead-fallbacks": "wild-anything"}).headers["x-bulkhead-target"] == "west/main/wild"
    assert lab.ask("broken", headers={"x-bulkhead-fallbacks": "no-such"}).code == "model_not_found"
    assert lab.ask("plain", key=NARROW, headers={"x-bulkhead-fallbacks": "plain-west"}).code == "model_not_found"
    assert lab.ask("broken", headers={"x-bulkhead-fallbacks": "a,b,c,d,e"}).code == "invalid_field"


def test_a_dry_run_calls_nobody(lab: Lab) -> None:
    before = [lab.east.bill(seen=False)["requests"], lab.west.bill(seen=False)["requests"]]
    got = lab.ask("wide", headers={"x-bulkhead-explain": "dry-run"}, messages=[{"role": "user", "content": "word " * 400}])
    plan = json.loads(got.body)
    assert got.status == 200 and plan["would"] == {"call": "west/main/wide"}
    assert [drop["target"] for drop in plan["dropped"]] == ["east/main/wide"] and "window" in plan["dropped"][0]["reason"]
    refused = lab.ask("plain", key=NARROW, headers={"x-bulkhead-explain": "dry-run"})
    assert (refused.status, refused.code) == (403, "explain_not_allowed")
    assert [lab.east.bill(seen=False)["requests"], lab.west.bill(seen=False)["requests"]] == before


def test_a_user_stays_on_one_side_of_a_split(lab: Lab) -> None:
    sides: dict[str, set[str]] = {}
    for user in [f"user-{number}" for number in range(12)] * 2:
        got = lab.ask("split", user=user)
        flags = lab.record(got)["flags"]
        provider = got.headers["x-bulkhead-target"].split("/")[0]
        assert flags == ["variant:blue" if provider == "east" else "variant:green"]
        sides.setdefault(user, set()).update(flags)
    assert all(len(side) == 1 for side in sides.values())
    assert {next(iter(side)) for side in sides.values()} == {"variant:blue", "variant:green"}
    metrics = httpx.get(f"{lab.proxy.admin_url}/metrics", timeout=60).text
    counts = re.findall(r'bulkhead_variant_requests_total\{route="split",variant="(\w+)",outcome="ok"\} (\d+)', metrics)
    assert {name for name, _ in counts} == {"blue", "green"} and sum(int(count) for _, count in counts) == 24, "each reported apart"


def test_the_quicker_target_gets_the_traffic(lab: Lab) -> None:
    lab.script("east", "quickest", first_byte_ms={"kind": "fixed", "value": 400})
    asked = [lab.ask("quickest") for _ in range(12)]
    assert all(got.whole for got in asked)
    assert sum(got.headers["x-bulkhead-target"].startswith("east") for got in asked[2:]) <= 3


LONG = [
    {"role": "system", "content": "Be brief."},
    *({"role": role, "content": f"{role} {'word ' * 60}"} for _ in range(3) for role in ("user", "assistant")),
    {"role": "user", "content": "And the moon?"},
]


@pytest.mark.parametrize("stream", [False, True])
def test_what_does_not_fit(lab: Lab, stream: bool) -> None:
    more: dict[str, Any] = {"messages": LONG, "max_tokens": 20, "stream": stream}
    assert lab.ask("wide", **more).headers["x-bulkhead-target"] == "west/main/wide"
    trimmed = lab.ask("trim", **more)
    assert trimmed.whole and re.fullmatch(r"[1-9] messages", trimmed.headers["x-bulkhead-trimmed"])
    seen = lab.seen("east", "trim")[-1]
    assert 0 < seen["input_tokens"] < 300
    refused = lab.ask("refuse", **more)
    assert (refused.status, refused.code, refused.headers["x-should-retry"]) == (400, "context_length_exceeded", "false")
    assert json.loads(refused.body)["bulkhead"]["window_tokens"] == 300 and not lab.seen("east", "refuse")


def test_a_limited_route_leaves_out_what_is_dear_and_is_brief(lab: Lab) -> None:
    for more in ({}, {"max_tokens": 900}):
        got = lab.ask("limited", bulkhead_sim={"output_tokens": 50}, **more)
        assert got.whole and got.headers["x-bulkhead-target"] == "west/main/limited"
        assert got.headers["x-bulkhead-degradation"] == "limited"
        assert json.loads(got.body)["usage"]["completion_tokens"] == 5
    assert lab.seen("east", "limited") == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("level", ["cached", "minimal"])
def test_a_prepared_answer(lab: Lab, level: str, stream: bool) -> None:
    got = lab.ask(level, stream=stream)
    assert got.whole and got.text == "We will be back soon."
    assert got.headers["x-bulkhead-degradation"] == level and got.headers["x-bulkhead-attempts"] == "0"
    found = lab.record(got)
    assert (found["outcome"], found["attempts"], found["cost_nano"]) == ("ok", [], 0)
    assert lab.seen("east", level) == []


def test_without_a_prepared_answer_it_says_so(lab: Lab) -> None:
    got = lab.ask("silent")
    assert (got.status, got.code) == (503, "degraded") and "Try again later" in got.body


def test_an_error_names_its_route_and_whose_it_is(lab: Lab) -> None:
    lab.script("east", "over", "400x1")
    got = lab.ask("over")
    assert (got.status, got.headers["x-bulkhead-target"], got.headers["x-bulkhead-route"]) == (400, "east/main/over", "over")
    refused = lab.ask("silent")
    assert refused.headers["x-bulkhead-degradation"] == "minimal" and "x-bulkhead-target" not in refused.headers


def test_what_is_tried_again_here_is_not_tried_again_by_sdks(lab: Lab) -> None:
    lab.script("east", "plain", "503x2")
    assert lab.ask("plain").headers["x-should-retry"] == "false"
    lab.script("east", "plain", "429:retry-after=600x1")
    assert "x-should-retry" not in lab.ask("plain").headers, "a rate limit passes"
    lab.script("east", "plain")


def test_streams_teach_how_long_tokens_are(lab: Lab) -> None:
    body = {"messages": [{"role": "user", "content": "word " * 400}]}

    def estimated() -> int:
        plan = json.loads(lab.ask("learns", headers={"x-bulkhead-explain": "dry-run"}, **body).body)
        return int(plan["candidates"][0]["estimated_input_tokens"])

    before = estimated()
    assert all(lab.ask("learns", stream=True, **body).whole for _ in range(8))
    counted = lab.seen("east", "learns")[-1]["input_tokens"]
    assert counted <= estimated() < before, "nearer to what the provider counts, and not below it"


def test_the_apps_own_mistake_is_told_not_to_be_tried_again(lab: Lab) -> None:
    got = lab.ask("nobody-has-this")
    assert (got.status, got.code, got.headers["x-should-retry"]) == (404, "model_not_found", "false")


def test_a_model_that_one_provider_does_not_have(lab: Lab) -> None:
    lab.script("east", "missing-model", "404x1")
    got = lab.ask("missing-model")
    assert got.whole and lab.roles(got) == [("east", "first", "error"), ("west", "failover", "ok")]
