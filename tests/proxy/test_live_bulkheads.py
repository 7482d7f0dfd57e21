"""Bulkheads in a real proxy: caps, the queue's order, shedding, and no slot lost on any way out."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.proxy.lab import HIGH, LOW, ORG, Lab, until


def test_better_keys_go_first(lab: Lab) -> None:
    target = "east/main/capped"
    first = lab.hold("capped", target)
    waiting: dict[str, list[Any]] = {}
    for at, (name, key, headers) in enumerate((("low", LOW, {}), ("lowered", HIGH, {"x-bulkhead-priority": "low"}), ("high", HIGH, {}))):
        waiting[name] = lab.later("capped", key=key, headers=headers, user=name)
        until(lambda at=at: lab.bulkhead(target)["waiting"] == at + 1, "it waits")
    first.close()
    lab.join()
    assert all(got[0].whole for got in waiting.values())
    ids = {lab.record(got[0], {"low": LOW}.get(name, HIGH))["attempts"][0]["upstream_request_id"]: name for name, got in waiting.items()}
    assert [ids[line["id"]] for line in lab.seen("east", "capped") if line["id"] in ids] == ["high", "low", "lowered"]


def test_a_full_queue_sheds_the_worst(lab: Lab) -> None:
    name = "route r-narrow"
    first = lab.hold("narrow", name)
    low = lab.later("narrow", key=LOW)
    until(lambda: lab.bulkhead(name)["waiting"] == 1, "one waits")
    high = lab.later("narrow", key=HIGH)
    until(lambda: low, "the worse one is turned away")
    first.close()
    lab.join()
    assert high[0].whole
    assert (low[0].status, low[0].code) == (429, "overloaded") and int(low[0].headers["retry-after"]) >= 1
    assert "x-should-retry" not in low[0].headers
    found = lab.record(low[0], LOW)
    assert (found["outcome"], found["error_code"], found["attempts"]) == ("refused", "overloaded", [])


def test_nobody_waits_longer_than_the_route_lets_them(lab: Lab) -> None:
    first = lab.hold("capped-short", "east/main/capped-short")
    got = lab.ask("capped-short")
    assert (got.status, got.code) == (429, "overloaded") and "retry-after" in got.headers
    assert lab.bulkhead("east/main/capped-short")["expired"] >= 1
    first.close()


def test_a_full_target_is_passed_over_where_another_is_there(lab: Lab) -> None:
    first = lab.hold("capped-both", "east/main/capped-both")
    got = lab.ask("capped-both")
    first.close()
    assert got.headers["x-bulkhead-target"] == "west/main/capped-both"
    assert lab.roles(got) == [("west", "first", "ok")]


@pytest.mark.parametrize("value", ["urgent", ""])
def test_a_priority_nobody_knows(lab: Lab, value: str) -> None:
    got = lab.ask("plain", headers={"x-bulkhead-priority": value})
    assert (got.status, got.code) == (400, "invalid_field")


EXITS = ["ok", "500x2-then-ok", "400", "401", "404", "429", "reset", "cut", "cut:events=3", "truncated_json", "stall:where=mid,events=3"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [*EXITS, "stall", "error_event:events=0", "error_event:events=3"])
def test_every_way_out_gives_the_slots_back(lab: Lab, fault: str, stream: bool) -> None:
    lab.script("east", "exits", *fault.split("-then-"))
    lab.script("west", "exits", *(["stall"] if fault == "stall" else []))
    lab.ask("exits", stream=stream)
    assert lab.leaks() == []


@pytest.mark.parametrize("fault", ["stall:where=headers,seconds=110", "stall:where=mid,events=3,seconds=110"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_app_leaves(lab: Lab, fault: str, stream: bool) -> None:
    lab.script("east", "left", f"{fault}x1")
    sock = lab.send("left", stream=stream)
    until(lambda: lab.bulkhead("east/main/left")["running"] == 1, "it runs")
    sock.close()
    until(lambda: not lab.leaks(), "its slots are given back, long before any deadline")
    lab.script("east", "left")


def test_the_app_leaves_while_it_waits(lab: Lab) -> None:
    first = lab.hold("capped", "east/main/capped")
    sock = lab.send("capped")
    until(lambda: lab.bulkhead("east/main/capped")["waiting"] == 1, "one waits")
    sock.close()
    until(lambda: lab.bulkhead("east/main/capped")["waiting"] == 0, "it left the queue")
    first.close()
    assert lab.ask("capped").whole


def test_metrics_tell_of_them(lab: Lab) -> None:
    text = httpx.get(f"{lab.proxy.admin_url}/metrics", timeout=60).text
    for name in ("bulkhead_slots_running", "bulkhead_slots_waiting", "bulkhead_shed_total", "bulkhead_slots_limit"):
        assert f'{name}{{bulkhead="{ORG}/east/main/capped"}}' in text
    assert f'bulkhead_breaker_open{{target="{ORG}/east/main/capped"}} 0' in text
