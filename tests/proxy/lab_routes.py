"""The lab's routes, one table: name, targets, and what is special about it. Tests say what the models do."""

from __future__ import annotations

from apps.contracts.snapshot import BreakerPolicy, Deadlines, Mirror, RouteFragment
from tests.proxy.lab import at, both, route

NO_BREAKER = BreakerPolicy(enabled=False)
TOUCHY = BreakerPolicy(consecutive=3, open_ms=400)
PATIENT = Deadlines(first_byte_ms=115_000, idle_ms=115_000, total_ms=120_000)
IMPATIENT = Deadlines(first_byte_ms=600, idle_ms=600, total_ms=20_000)

ROUTES: list[RouteFragment] = [
    route("plain", [at("east", "plain")]),
    route("plain-west", [at("west", "plain-west")]),
    route("wild-*", [at("west", "wild")]),
    # failing over
    route("over", both("over")),
    route("over-429", both("over-429")),
    *(route(f"wait-{spelling}", [at("east", f"wait-{spelling}")]) for spelling in ("seconds", "ms", "azure", "date")),
    route("storm", [at("east", "storm")], breaker=NO_BREAKER),
    route("slow", [at("east", "slow")], deadlines=IMPATIENT),
    route("gate", both("gate"), deadlines=IMPATIENT, first_token_ms=700),
    route("thinking", [at("east", "thinking", reasoning=True)], deadlines=IMPATIENT, reasoning_first_byte_ms=15_000),
    route("broken", [at("east", "broken")]),
    route("missing-model", [at("east", "missing-model"), at("west", "missing-model-2")]),
    # what is chosen
    route(
        "split",
        [at("east", "split", weight=50, variant="blue"), at("west", "split", weight=50, variant="green")],
        strategy="weighted",
        sticky="user",
    ),
    route("quickest", both("quickest"), strategy="least_latency"),
    route("wide", [at("east", "wide", window=300), at("west", "wide", window=100_000)]),
    route("learns", [at("east", "learns", window=100_000)]),
    route("trim", [at("east", "trim", window=300)], context="trim"),
    route("refuse", [at("east", "refuse", window=300)], context="refuse"),
    route("limited", [at("east", "limited", expensive=True), at("west", "limited")], level="limited", limited_max_output=5),
    route("cached", [at("east", "cached")], level="cached", canned="We will be back soon."),
    route("minimal", [at("east", "minimal")], level="minimal", canned="We will be back soon."),
    route("silent", [at("east", "silent")], level="minimal"),
    # rescues
    route("prefill", both("prefill", prefill=True)),
    route("again", both("again")),
    route("asked", both("asked")),
    route("diverging", both("diverging")),
    route("itself", [at("east", "itself", prefill=True)]),
    route("three", both("three", prefill=True)),
    route("silence", both("silence", prefill=True), deadlines=IMPATIENT),
    route("event", both("event", prefill=True)),
    route("no-rescue", both("no-rescue", prefill=True), rescue="off"),
    route("other-model", [at("east", "other-model"), at("west", "other-model-2", prefill=True)]),
    route("any-model", [at("east", "any-model"), at("west", "any-model-2", prefill=True)], rescue="any"),
    route("bounded", [at("east", "bounded", total_ms=700, prefill=True), at("west", "bounded", prefill=True)], breaker=TOUCHY),
    route("named-rescue", [at("east", "named-rescue")]),
    route("rescue-helper", [at("west", "named-rescue", prefill=True)]),
    route("tools", both("tools", prefill=True)),
    # hedges
    route("hedged", both("hedged"), hedge_percent=100, hedge_after_ms=150),
    route("hedged-late", both("hedged-late"), hedge_percent=100, hedge_after_ms=150),
    route("hedged-share", both("hedged-share"), hedge_percent=10, hedge_after_ms=30),
    route("hedged-dead", [at("east", "hedged-dead"), at("dead", "hedged-dead")], hedge_percent=100, hedge_after_ms=150),
    route("hedged-fail", both("hedged-fail"), hedge_percent=100, hedge_after_ms=100),
    route("hedged-rescue", both("hedged-rescue", prefill=True), hedge_percent=100, hedge_after_ms=150),
    route(
        "hedged-capped",
        [at("east", "hedged-capped", max_concurrency=4), at("west", "hedged-capped", max_concurrency=1)],
        hedge_percent=100,
        hedge_after_ms=100,
        breaker=TOUCHY,
    ),
    # breakers
    route("opens", both("opens"), breaker=BreakerPolicy(consecutive=3, open_ms=1_200)),
    route("opens-last", both("opens-last", prefill=True), breaker=BreakerPolicy(consecutive=3, open_ms=30_000)),
    route("opens-alone", [at("east", "opens-alone")], breaker=TOUCHY),
    route("opens-capped", [at("east", "opens-capped", max_concurrency=1)], breaker=TOUCHY, queue_size=0),
    # bulkheads
    route("capped", [at("east", "capped", max_concurrency=1)], queue_size=3, queue_ms=20_000),
    route("capped-short", [at("east", "capped-short", max_concurrency=1)], queue_size=3, queue_ms=300),
    route("capped-both", [at("east", "capped-both", max_concurrency=1), at("west", "capped-both")]),
    route("narrow", [at("east", "narrow")], max_concurrency=1, queue_size=1, queue_ms=20_000),
    route(
        "exits",
        [at("east", "exits", max_concurrency=8, prefill=True), at("west", "exits", max_concurrency=8, prefill=True)],
        max_concurrency=8,
        queue_ms=300,
        queue_size=2,
        deadlines=Deadlines(first_byte_ms=600, idle_ms=600, total_ms=2_000),
        breaker=NO_BREAKER,
    ),
    route("left", [at("east", "left", max_concurrency=8, prefill=True)], max_concurrency=8, deadlines=PATIENT, breaker=NO_BREAKER),
    route("mirrored", [at("east", "mirrored")], mirror=Mirror(target=at("west", "shadow"))),
    # the same call twice
    route("once", both("once"), deadlines=PATIENT),
]

FAULTS = {
    "ok": "ok",
    "400": "400x9",
    "401": "401x9",
    "402": "402x9",
    "403": "403x9",
    "404": "404x9",
    "408": "408x9",
    "413": "413x9",
    "422": "422x9",
    "429": "429x9",
    "429 and when": "429:retry-after=0.3x1",
    "500": "500x9",
    "500 once": "500x1",
    "502 of a balancer": "502:body=htmlx9",
    "503": "503x9",
    "503 and when": "503:retry-after=0.3x1",
    "504 empty": "504:body=emptyx9",
    "too long": "400:body=context_lengthx9",
    "filtered": "400:body=content_filterx9",
    "refused": "",
    "reset": "resetx9",
    "reset once": "resetx1",
    "silent": "stall:where=headersx9",
    "silent and bounded": "stall:where=headersx9",
    "slow once": "stall:where=headers,seconds=0.3x1",
    "no first token": "stall:where=first_tokenx9",
    "stalled": "stall:where=mid,events=12x9",
    "cut early": "cut:events=0x9",
    "cut": "cut:events=12x9",
    "cut cleanly": "cut:events=12,cleanx9",
    "truncated": "truncated_jsonx9",
    "malformed event": "malformed_sse:events=12x9",
    "error event first": "error_event:events=0x9",
    "error event": "error_event:events=12x9",
    "no end": "missing_donex9",
    "no usage": "missing_usagex9",
}
"""What goes wrong in the table of faults, by name."""


def table_route(fault: str, shape: str, kind: str) -> str:
    return f"table/{fault.replace(' ', '-')}/{shape}/{kind}"


for _fault in FAULTS:
    for _shape in ("json", "stream"):
        for _kind in ("alone", "fallback"):
            _name = table_route(_fault, _shape, _kind)
            _own = {"total_ms": 600} if _fault == "silent and bounded" else {}
            _first = at("dead" if _fault == "refused" else "east", _name, prefill=True, **_own)
            _targets = [_first] if _kind == "alone" else [_first, at("west", _name, prefill=True)]
            _silent = Deadlines(first_byte_ms=600, idle_ms=600, total_ms=1_500 if _shape == "json" else 20_000)
            _deadlines = _silent if _fault in ("silent", "no first token", "stalled") else Deadlines()
            ROUTES.append(route(_name, _targets, deadlines=_deadlines))
