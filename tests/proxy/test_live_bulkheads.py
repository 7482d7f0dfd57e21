"""Bulkheads in a real proxy: caps, the queue's order, shedding, and no slot lost on any way out."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.proxy.lab import HIGH, KEY, LOW, ORG, Lab, until

SLOW = "stall:where=headers,seconds=3"


def test_better_keys_go_first(lab: Lab) -> None:
    lab.script("east", "capped", "stall:where=headers,seconds=4x1")
    target = "east/main/capped"
    first = lab.later("capped")
    until(lambda: lab.bulkhead(target)["running"] == 1, "one runs")
    waiting: dict[str, list[Any]] = {}
    for at, (name, key, headers) in enumerate((("low", LOW, {}), ("lowered", HIGH, {"x-bulkhead-priority": "low"}), ("high", HIGH, {}))):
        waiting[name] = lab.later("capped", key=key, headers=headers, user=name)
        until(lambda at=at: lab.bulkhead(target)["waiting"] == at + 1, "it waits")
    lab.join()
    assert first[0].whole and all(got[0].whole for got in waiting.values())
    ids = {lab.record(got[0], {"low": LOW}.get(name, HIGH))["attempts"][0]["upstream_request_id"]: name for name, got in waiting.items()}
    assert [ids[line["id"]] for line in lab.seen("east", "capped") if line["id"] in ids] == ["high", "low", "lowered"]


def test_a_full_queue_sheds_the_worst(lab: Lab) -> None:
    lab.script("east", "narrow", f"{SLOW}x1")
    name = "route r-narrow"
    first = lab.later("narrow")
    until(lambda: lab.bulkhead(name)["running"] == 1, "one runs")
    low = lab.later("narrow", key=LOW)
    until(lambda: lab.bulkhead(name)["waiting"] == 1, "one waits")
    high = lab.ask("narrow", key=HIGH)
    lab.join()
    assert first[0].whole and high.whole
    assert (low[0].status, low[0].code) == (429, "overloaded") and int(low[0].headers["retry-after"]) >= 1
    assert "x-should-retry" not in low[0].headers
    found = lab.record(low[0], LOW)
    assert (found["outcome"], found["error_code"], found["attempts"]) == ("refused", "overloaded", [])


def test_nobody_waits_longer_than_the_route_lets_them(lab: Lab) -> None:
    lab.script("east", "capped-short", "stall:where=headers,seconds=2x1")
    first = lab.later("capped-short")
    until(lambda: lab.bulkhead("east/main/capped-short")["running"] == 1, "one runs")
    got = lab.ask("capped-short")
    assert (got.status, got.code) == (429, "overloaded") and "retry-after" in got.headers
    assert lab.bulkhead("east/main/capped-short")["expired"] >= 1
    lab.join()
    assert first[0].whole


def test_a_full_target_is_passed_over_where_another_is_there(lab: Lab) -> None:
    lab.script("east", "capped-both", f"{SLOW}x1")
    first = lab.later("capped-both")
    until(lambda: lab.bulkhead("east/main/capped-both")["running"] == 1, "one runs")
    got = lab.ask("capped-both")
    lab.join()
    assert got.headers["x-bulkhead-target"] == "west/main/capped-both"
    assert lab.roles(got) == [("west", "first", "ok")] and first[0].whole


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


@pytest.mark.parametrize("fault", ["stall:where=headers,seconds=2", "stall:where=mid,events=3,seconds=2"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_app_leaves(lab: Lab, fault: str, stream: bool) -> None:
    lab.script("east", "exits", fault)
    sock = _send(lab, "exits", stream=stream)
    until(lambda: lab.bulkhead("east/main/exits")["running"] == 1, "it runs")
    sock.close()
    until(lambda: not lab.leaks(), "its slots are given back", seconds=1.5)


def test_the_app_leaves_while_it_waits(lab: Lab) -> None:
    lab.script("east", "capped", "stall:where=headers,seconds=1x1")
    first = lab.later("capped")
    until(lambda: lab.bulkhead("east/main/capped")["running"] == 1, "one runs")
    sock = _send(lab, "capped")
    until(lambda: lab.bulkhead("east/main/capped")["waiting"] == 1, "one waits")
    sock.close()
    until(lambda: lab.bulkhead("east/main/capped")["waiting"] == 0, "it left the queue")
    lab.join()
    assert first[0].whole and lab.ask("capped").whole


def test_metrics_tell_of_them(lab: Lab) -> None:
    text = httpx.get(f"{lab.proxy.admin_url}/metrics", timeout=10).text
    for name in ("bulkhead_slots_running", "bulkhead_slots_waiting", "bulkhead_shed_total", "bulkhead_slots_limit"):
        assert f'{name}{{bulkhead="{ORG}/east/main/capped"}}' in text
    assert f'bulkhead_breaker_open{{target="{ORG}/east/main/capped"}} 0' in text


def _send(lab: Lab, model: str, *, stream: bool = False) -> socket.socket:
    """A request by hand, so that its connection can be closed in the middle."""
    body = b'{"model":"%b","stream":%b,"messages":[{"role":"user","content":"x"}]}' % (model.encode(), b"true" if stream else b"false")
    sock = socket.create_connection(("127.0.0.1", urlsplit(lab.proxy.url).port or 0), timeout=30)
    sock.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body)
    )
    return sock
