"""Ten flips under steady mixed traffic: what the preview said before each, beside what the records say happened in the minutes after it.

Six kinds of flips, four of them taken back: a fallback, kills of a provider, a model, a route and a key, a degradation. The previews of
six, then of four, are asked just before those are flipped together; each flip has routes, or a key, of its own. Traffic, cost and the p95
to the first token must be within 15 percent of what was foretold.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from apps.contracts.money import NANO
from apps.flags.afterwards import WITHIN, Line
from apps.simulator.harness import SimulatorServer
from tests.accept.conftest import FULL, SERVICE, Instance
from tests.accept.steady import Flow, Steady
from tests.launcher.conftest import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(not FULL, reason="ten flips and the minutes after them: make accept (BULKHEAD_ACCEPT=1)"),
]

PLACES = {
    # provider: (its model, median and p95 of the first byte in ms, dollars per million tokens in and out)
    "east": ("swift", (300, 420), ("1", "4")),
    "west": ("steady", (520, 728), ("0.5", "2")),
    "north": ("quick", (240, 336), ("2", "8")),
    "spare": ("slow", (760, 1064), ("0.2", "0.8")),
    "dear": ("fine", (400, 560), ("5", "20")),
}
ROUTES: dict[str, dict[str, Any]] = {
    "answers": {"targets": ["east"], "fallback": ["west"]},
    "search": {"targets": ["north", "west"]},
    "summaries": {"targets": ["east", "spare"], "weights": [70, 30]},
    "drafts": {"targets": ["west"]},
    "letters": {"targets": ["east"]},
    "notes": {"targets": ["dear", "west"]},
}
FLAGS: dict[str, dict[str, str]] = {
    "answers-fallback": {"kind": "fallback", "route": "answers"},
    "stop-north": {"kind": "kill", "provider": "north"},
    "stop-slow": {"kind": "kill", "model": "slow"},
    "stop-drafts": {"kind": "kill", "route": "drafts"},
    "notes-limited": {"kind": "degrade", "level": "limited", "route": "notes"},
    "stop-robot": {"kind": "kill", "key": "robot"},
}
REACHES = {
    "answers-fallback": "answers", "stop-north": "search", "stop-slow": "summaries", "stop-drafts": "drafts", "notes-limited": "notes",
    "stop-robot": "letters",
}  # fmt: skip
WAVES = ((True, tuple(FLAGS)), (False, ("answers-fallback", "stop-north", "stop-drafts", "stop-robot")))
"""Flags that are flipped together, and which way."""
PER_SECOND = 5.0
BEFORE, AFTER = 66.0, (118.0, 95.0)
"""Seconds of traffic before the first previews, and after the flips of each wave: a key's part is told by whole minutes."""
SPREADS = 5.0
"""Seconds after a flip that are not looked at: what began before it is still under way."""


def document() -> str:
    providers = [
        {
            "name": name,
            "simulated": True,
            "allow_private_addresses": True,
            "endpoints": [{"base_url": "{url}"}],
            "prices": [{"model": model, "input": prices[0], "output": prices[1]}],
        }
        for name, (model, _, prices) in PLACES.items()
    ]

    def targets(names: list[str], weights: list[int]) -> list[dict[str, Any]]:
        found = [{"provider": name, "model": PLACES[name][0], "expensive": name == "dear"} for name in names]
        return [{**target, "weight": weight} for target, weight in zip(found, weights or [100] * len(found), strict=True)]

    routes = [
        {
            "name": name,
            "targets": targets(route["targets"], route.get("weights", [])),
            "fallback": targets(route.get("fallback", []), []),
            "resilience": {"strategy": "weighted" if "weights" in route else "priority"},
        }
        for name, route in ROUTES.items()
    ]
    return json.dumps(
        {
            "organisation": "demo",
            "providers": providers,
            "routes": routes,
            "keys": [{"name": name, "service": SERVICE, "secret": f"file:{name}.key"} for name in ("people", "robot")],
            "flags": [{"name": name, "on": False, "purpose": "A drill.", **flag} for name, flag in FLAGS.items()],
            "budgets": [{"name": name, "absent": True} for name in ("demo-day", "demo-key-month")],
        }
    )


@pytest.fixture
def upstream() -> Iterator[SimulatorServer]:
    """All the providers: each model has a pace of its own."""
    models = {
        model: {
            "first_byte_ms": {"kind": "lognormal", "median": median, "p95": p95},
            "output_tokens": {"kind": "lognormal", "median": 60, "p95": 90},
            "tokens_per_second": 400,
            "tokens_per_event": 8,
        }
        for model, (median, p95), _ in PLACES.values()
    }
    with SimulatorServer("foretold", process=True, scenario={"models": models}) as server:
        yield server


class OnCall:
    """A person who asks what a flip would do, and flips, through the API."""

    def __init__(self, one: Instance) -> None:
        self.web = httpx.Client(base_url=one.facts["web_url"], timeout=60, trust_env=False, follow_redirects=True)
        self.web.get("/login/")
        typed = {**one.facts["login"], "csrfmiddlewaretoken": self.web.cookies["csrftoken"]}
        assert self.web.post("/login/", data=typed, headers={"referer": one.facts["web_url"]}).url.path == "/"

    def preview(self, flag: str, *, on: bool) -> dict[str, Any]:
        return self._post(f"{flag}/preview/", {"on": on})

    def flip(self, flag: str, *, on: bool) -> None:
        assert self._post(f"{flag}/flip/", {"on": on, "reason": "ten flips", "acknowledge": True})["on"] is on

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"x-csrftoken": self.web.cookies["csrftoken"], "referer": str(self.web.base_url)}
        answer = self.web.post(f"/api/v1/organisations/demo/flags/{path}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@dataclass
class Flip:
    """One flip: what was said before it, and from when to when it is looked at."""

    flag: str
    on: bool
    said: dict[str, Any]
    begins: datetime
    ends: datetime


def happened(one: Instance, flip: Flip) -> tuple[dict[str, float], float, int, float | None]:
    """What the records of its route (or its key) say: requests a minute by target, refused a minute, nano-dollars an hour, the p95 to the
    first token in microseconds."""
    whose = "route = %s"
    given: list[Any] = [REACHES[flip.flag]]
    if "key" in FLAGS[flip.flag]:
        whose, given = "key_id = (SELECT id::text FROM keys_virtualkey WHERE name = %s)", [FLAGS[flip.flag]["key"]]
    within = "started_at >= %s AND started_at < %s"
    rows = one.query(
        f"SELECT provider, model, count(*), sum(cost_nano) FROM usage_request WHERE {whose} AND {within} GROUP BY 1, 2",
        *given, flip.begins, flip.ends,
    )  # fmt: skip
    [[ttft]] = one.query(
        "SELECT percentile_disc(0.95) WITHIN GROUP (ORDER BY first_token_us) FROM usage_request "
        f"WHERE {whose} AND {within} AND stream AND provider <> '' AND first_token_us >= 0",
        *given, flip.begins, flip.ends,
    )  # fmt: skip
    minutes = (flip.ends - flip.begins).total_seconds() / 60
    targets = {f"{provider}/{model}": count / minutes for provider, model, count, _ in rows if provider}
    refused = sum(count for provider, _, count, _ in rows if not provider) / minutes
    return targets, refused, round(sum(int(cost) for *_, cost in rows) / minutes * 60), None if ttft is None else float(ttft)


def compared(one: Instance, flip: Flip) -> list[Line]:
    """Each figure that the preview named, beside what happened."""
    targets, refused, cost, ttft = happened(one, flip)
    said, lines = flip.said, []
    gained = {each["target"]: max(0.0, each["then_per_minute"] - each["now_per_minute"]) for each in said["targets"]}
    moved = sum(max(0.0, targets.get(each["target"], 0.0) - each["now_per_minute"]) for each in said["targets"] if gained[each["target"]])
    lines.append(Line("moved", "rate", said["moved_per_minute"], moved))
    lines += [
        Line(f"to {each['target']}", "rate", each["then_per_minute"], targets.get(each["target"], 0.0))
        for each in said["targets"]
        if gained[each["target"]] or each["now_per_minute"]
    ]
    unheard = sum(rate for target, rate in targets.items() if target not in gained)
    lines.append(Line("to anybody else", "rate", 0.0, unheard))
    if said["refused_per_minute"] >= 0:
        lines.append(Line("refused", "rate", said["refused_per_minute"], refused))
    else:
        lines.append(Line("refused", "rate", 0.0, refused))  # all that were come back
    lines.append(Line("cost", "dollars", said["cost_then_nano"], cost))
    if ttft is not None:
        lines.append(Line("p95 to first token", "time", said["first_token_then_us"], ttft))
    return [line for line in lines if line.predicted != 0 or line.measured != 0]


def shown(line: Line, value: float | None) -> str:
    if value is None:
        return "not known"
    return f"{value:.1f}/min" if line.unit == "rate" else f"${value / NANO:.4f}/h" if line.unit == "dollars" else f"{value / 1000:.0f} ms"


def test_ten_flips_do_what_was_foretold(make_instance: Any, upstream: SimulatorServer, capsys: pytest.CaptureFixture[str]) -> None:
    one: Instance = make_instance("--proxies", "2")
    one.apply(document().replace("{url}", upstream.base_url))
    wait_for(lambda: len({state.get("config_version") for state in one.readiness().values()}) == 1, what="both have the same config")
    person = OnCall(one)
    keys = {name: (one.data_dir / f"{name}.key").read_text().strip() for name in ("people", "robot")}
    flows = [Flow(route, keys["people"], PER_SECOND) for route in ROUTES] + [Flow("letters", keys["robot"], PER_SECOND)]
    steady, flips = Steady(one.facts["proxy_url"], flows), []
    # What came before the traffic is no part of what is measured: a preview takes the first minute with requests for a whole one.
    time.sleep(60 - time.time() % 60)
    with steady.running():
        time.sleep(BEFORE)
        for (on, flags), after in zip(WAVES, AFTER, strict=True):
            said = {flag: person.preview(flag, on=on) for flag in flags}
            for flag in flags:
                person.flip(flag, on=on)
            begins = datetime.now(UTC) + timedelta(seconds=SPREADS)
            ends = begins + timedelta(seconds=after - SPREADS)
            flips += [Flip(flag, on, said[flag], begins, ends) for flag in flags]
            time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()))
    settled = "SELECT count(*) FROM usage_request WHERE key_id IN (SELECT id::text FROM keys_virtualkey WHERE name IN ('people', 'robot'))"
    wait_for(lambda: one.query(settled)[0][0] >= steady.sent - sum(steady.broken.values()), what="everything is settled", seconds=120)
    judged = [(flip, line) for flip in flips for line in compared(one, flip)]
    wrong = [(flip.flag, flip.on, line) for flip, line in judged if not line.right]
    with capsys.disabled():
        print(f"\n{steady.sent} requests, {dict(steady.statuses)}, {dict(steady.broken)}; the latest was sent {steady.late:.2f} s late\n")
        print("| flip | measured over | figure | foretold | happened | off by |\n|---|---|---|---|---|---|")
        for flip, line in judged:
            over = f"{flip.said['minutes']:.1f} min, {flip.said['requests']:,} requests"
            off = "-" if line.off is None else f"{line.off * 100:+.1f}%"
            name = f"{flip.flag} {'on' if flip.on else 'off'}"
            print(f"| {name} | {over} | {line.name} | {shown(line, line.predicted)} | {shown(line, line.measured)} | {off} |")
        print(f"\n{len(judged) - len(wrong)} of {len(judged)} figures of {len(flips)} flips were within {WITHIN:.0%}.")
    assert not steady.broken and set(steady.statuses) <= {200, 403, 503}
    assert len(flips) == 10 and wrong == []
