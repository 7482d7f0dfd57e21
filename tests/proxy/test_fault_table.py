"""The table of faults: what the app gets, who is asked, and what is billed; as JSON and as a stream, alone and with a fallback.

A cell reads ``<status> <code>: <attempts>``. ``-`` as code is a whole answer; ``!`` after the code: the error came inside a stream
that had begun, and the stream did not end cleanly. An attempt is ``<role>:<provider>`` and how it is billed: ``=`` by the provider's own
count, ``~`` by an upper bound, ``0`` not at all, ``?`` by a bound unless the connection had been kept from before (then the provider
may have hung up before it read anything). Providers are E(ast), which has the fault, W(est), which is well, and D(ead).
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import pytest

from tests.proxy.lab import Got, Lab, until
from tests.proxy.lab_routes import FAULTS, table_route


class Row(NamedTuple):
    """None: the fault says nothing about this kind of answer."""

    json_alone: str | None
    json_fallback: str | None
    stream_alone: str | None
    stream_fallback: str | None


TABLE: dict[str, Row] = {
    "ok": Row(
        "200 -: first:E=",
        "200 -: first:E=",
        "200 -: first:E=",
        "200 -: first:E=",
    ),
    "400": Row(
        "400 invalid_request: first:E0",
        "400 invalid_request: first:E0",
        "400 invalid_request: first:E0",
        "400 invalid_request: first:E0",
    ),
    "401": Row(
        "502 upstream_credentials_exhausted: first:E0",
        "200 -: first:E0 failover:W=",
        "502 upstream_credentials_exhausted: first:E0",
        "200 -: first:E0 failover:W=",
    ),
    "402": Row(
        "502 upstream_credentials_exhausted: first:E0",
        "200 -: first:E0 failover:W=",
        "502 upstream_credentials_exhausted: first:E0",
        "200 -: first:E0 failover:W=",
    ),
    "403": Row(
        "502 upstream_credentials_exhausted: first:E0",
        "200 -: first:E0 failover:W=",
        "502 upstream_credentials_exhausted: first:E0",
        "200 -: first:E0 failover:W=",
    ),
    "404": Row(
        "404 model_not_found: first:E0",
        "200 -: first:E0 failover:W=",
        "404 model_not_found: first:E0",
        "200 -: first:E0 failover:W=",
    ),
    "408": Row(
        "408 request_timeout: first:E0",
        "200 -: first:E0 failover:W=",
        "408 request_timeout: first:E0",
        "200 -: first:E0 failover:W=",
    ),
    "413": Row(
        "413 request_too_large: first:E0",
        "413 request_too_large: first:E0",
        "413 request_too_large: first:E0",
        "413 request_too_large: first:E0",
    ),
    "422": Row(
        "422 unprocessable_entity: first:E0",
        "422 unprocessable_entity: first:E0",
        "422 unprocessable_entity: first:E0",
        "422 unprocessable_entity: first:E0",
    ),
    "429": Row(
        "429 rate_limit_exceeded: first:E0",
        "200 -: first:E0 failover:W=",
        "429 rate_limit_exceeded: first:E0",
        "200 -: first:E0 failover:W=",
    ),
    "429 and when": Row(
        "200 -: first:E0 retry:E=",
        "200 -: first:E0 failover:W=",
        "200 -: first:E0 retry:E=",
        "200 -: first:E0 failover:W=",
    ),
    "500": Row(
        "500 None: first:E0 retry:E0",
        "200 -: first:E0 retry:E0 failover:W=",
        "500 None: first:E0 retry:E0",
        "200 -: first:E0 retry:E0 failover:W=",
    ),
    "500 once": Row(
        "200 -: first:E0 retry:E=",
        "200 -: first:E0 retry:E=",
        "200 -: first:E0 retry:E=",
        "200 -: first:E0 retry:E=",
    ),
    "502 of a balancer": Row(
        "502 None: first:E0 retry:E0",
        "200 -: first:E0 retry:E0 failover:W=",
        "502 None: first:E0 retry:E0",
        "200 -: first:E0 retry:E0 failover:W=",
    ),
    "503": Row(
        "503 None: first:E0 retry:E0",
        "200 -: first:E0 retry:E0 failover:W=",
        "503 None: first:E0 retry:E0",
        "200 -: first:E0 retry:E0 failover:W=",
    ),
    "503 and when": Row(
        "200 -: first:E0 retry:E=",
        "200 -: first:E0 failover:W=",
        "200 -: first:E0 retry:E=",
        "200 -: first:E0 failover:W=",
    ),
    "504 empty": Row(
        "504 upstream_error: first:E0 retry:E0",
        "200 -: first:E0 retry:E0 failover:W=",
        "504 upstream_error: first:E0 retry:E0",
        "200 -: first:E0 retry:E0 failover:W=",
    ),
    "too long": Row(
        "400 context_length_exceeded: first:E0",
        "400 context_length_exceeded: first:E0",
        "400 context_length_exceeded: first:E0",
        "400 context_length_exceeded: first:E0",
    ),
    "filtered": Row(
        "400 content_filter: first:E0",
        "400 content_filter: first:E0",
        "400 content_filter: first:E0",
        "400 content_filter: first:E0",
    ),
    "refused": Row(
        "502 upstream_unreachable: first:D0 retry:D0",
        "200 -: first:D0 retry:D0 failover:W=",
        "502 upstream_unreachable: first:D0 retry:D0",
        "200 -: first:D0 retry:D0 failover:W=",
    ),
    "reset": Row(
        "502 upstream_error: first:E? retry:E?",
        "200 -: first:E? retry:E? failover:W=",
        "502 upstream_error: first:E? retry:E?",
        "200 -: first:E? retry:E? failover:W=",
    ),
    "reset once": Row(
        "200 -: first:E? retry:E=",
        "200 -: first:E? retry:E=",
        "200 -: first:E? retry:E=",
        "200 -: first:E? retry:E=",
    ),
    "silent": Row(
        "504 upstream_timeout: first:E~",
        "504 upstream_timeout: first:E~",
        "504 upstream_timeout: first:E~",
        "200 -: first:E~ failover:W=",
    ),
    "silent and bounded": Row(
        "504 upstream_timeout: first:E~",
        "200 -: first:E~ failover:W=",
        "504 upstream_timeout: first:E~",
        "200 -: first:E~ failover:W=",
    ),
    "slow once": Row(
        "200 -: first:E=",
        "200 -: first:E=",
        "200 -: first:E=",
        "200 -: first:E=",
    ),
    "no first token": Row(
        "504 upstream_timeout: first:E~",
        "504 upstream_timeout: first:E~",
        "504 upstream_timeout: first:E~",
        "200 -: first:E~ failover:W=",
    ),
    "stalled": Row(
        "504 upstream_timeout: first:E~",
        "504 upstream_timeout: first:E~",
        "200 stream_interrupted!: first:E~",
        "200 -: first:E~ rescue:W=",
    ),
    "cut early": Row(
        None,
        None,
        "502 upstream_error: first:E~ retry:E~",
        "200 -: first:E~ retry:E~ failover:W=",
    ),
    "cut": Row(
        "502 upstream_error: first:E~ retry:E~",
        "200 -: first:E~ retry:E~ failover:W=",
        "200 stream_interrupted!: first:E~ rescue:E~",
        "200 -: first:E~ rescue:W=",
    ),
    "cut cleanly": Row(
        "502 upstream_malformed: first:E~ retry:E~",
        "200 -: first:E~ retry:E~ failover:W=",
        "200 stream_interrupted!: first:E~ rescue:E~",
        "200 -: first:E~ rescue:W=",
    ),
    "truncated": Row(
        "502 upstream_malformed: first:E~ retry:E~",
        "200 -: first:E~ retry:E~ failover:W=",
        None,
        None,
    ),
    "malformed event": Row(
        None,
        None,
        "200 -: first:E=",
        "200 -: first:E=",
    ),
    "error event first": Row(
        None,
        None,
        "502 None: first:E~ retry:E~",
        "200 -: first:E~ retry:E~ failover:W=",
    ),
    "error event": Row(
        None,
        None,
        "200 stream_interrupted!: first:E~ rescue:E~",
        "200 -: first:E~ rescue:W=",
    ),
    "no end": Row(
        None,
        None,
        "200 -: first:E=",
        "200 -: first:E=",
    ),
    "no usage": Row(
        "200 -: first:E~",
        "200 -: first:E~",
        "200 -: first:E~",
        "200 -: first:E~",
    ),
}
CASES = [
    (fault, shape, kind)
    for fault, row in TABLE.items()
    for shape in ("json", "stream")
    for kind in ("alone", "fallback")
    if getattr(row, f"{shape}_{kind}") is not None
]
if os.environ.get("BULKHEAD_ACCEPT") != "1":  # one cell of every fault, each time another column
    CASES = [case for number, case in enumerate(CASES) if number % 4 == number // 4 % 4]


def read_off(lab: Lab, got: Got, found: dict[str, Any]) -> str:
    """The cell that this answer makes."""
    code = "-" if got.whole else f"{got.code}{'!' if got.is_stream else ''}"
    attempts = []
    for attempt in found["attempts"]:
        bill = "0" if not attempt["cost_nano"] else "~" if attempt["estimated"] else "="
        if attempt["error_code"] == "upstream_error" and not attempt["status"] and attempt["provider"] == "east":
            bill = "?"  # a reset
        attempts.append(f"{attempt['role']}:{attempt['provider'][0].upper()}{bill}")
    return f"{got.status} {code}: {' '.join(attempts)}"


def run(lab: Lab, fault: str, shape: str, kind: str) -> tuple[Got, dict[str, Any], str]:
    name = table_route(fault, shape, kind)
    for simulator in (lab.east, lab.west):
        simulator.reset()
    if fault != "refused":
        lab.script("east", name, FAULTS[fault])
    got = lab.ask(name, stream=shape == "stream", temperature=0, bulkhead_sim={"output_tokens": 40}, max_tokens=60)
    return got, lab.record(got), name


def test_the_table_has_every_fault() -> None:
    assert list(TABLE) == list(FAULTS)


@pytest.mark.parametrize(("fault", "shape", "kind"), CASES, ids=["-".join(case) for case in CASES])
def test_fault(lab: Lab, fault: str, shape: str, kind: str) -> None:
    got, found, name = run(lab, fault, shape, kind)
    assert read_off(lab, got, found) == getattr(TABLE[fault], f"{shape}_{kind}")
    assert found["outcome"] == ("ok" if got.whole else "error")
    assert found["cost_nano"] == sum(attempt["cost_nano"] for attempt in found["attempts"])
    if got.whole and shape == "stream":
        assert len(got.text) == 160, "the whole text, once"
    attempts = [attempt for attempt in found["attempts"] if attempt["provider"] != "dead"]

    def bills() -> list[dict[str, Any]]:
        return [*lab.seen("east", name), *lab.seen("west", name)]

    until(lambda: len(bills()) >= len(attempts), "the providers have written their bills")
    lines = bills()
    assert len(lines) == len(attempts), "as many as the record has, and no more"
    if "?" not in getattr(TABLE[fault], f"{shape}_{kind}"):
        assert found["cost_nano"] >= sum(line["cost_nano"] for line in lines), "never less than the providers bill"
