"""Is something wrong, where, since when: judged from measured facts by rules that anyone can read. Pure.

What was not measured is never called well: no traffic, no proxy or no word from the shipper each say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from apps.contracts.money import dollars_text
from apps.providers.live import LiveTarget
from apps.ui.format import compact, duration, percent
from apps.ui.status import SEVERITY, Status, Tone
from apps.usage.glance import LATEST_MINUTES, Glance, Watched

Subject = Literal["route", "provider", "budget", "proxies", "shipper", "traffic"]

LEAST_REQUESTS = 10
"""Fewer say nothing about a share."""
LEAST_FAILURES = 3
FAILING_BAD, FAILING_WARN = 0.05, 0.01
"""Share of requests that failed. The smaller one counts only where it is twice the hour before."""
ATTEMPTS_WARN = 0.20
"""Share of a provider's attempts that failed, while other targets answered the requests."""
SLOWER_TIMES, SLOWER_US = 2.0, 300_000
"""p95 beside the hour before: so many times as long, and at least so much longer."""
LAG_WARNS_MS, LAG_BAD_MS = 10_000, 60_000
SHIPPER_SILENT = timedelta(seconds=15)
MOST_FINDINGS = 6


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``name``: of the object. ``since``: when it began, None where that is not known."""

    tone: Tone
    subject: Subject
    name: str
    title: str
    detail: str
    since: datetime | None = None
    rank: int = 0
    """Among equals, the lower comes first: what fails before what is slow."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What became of the requests whose traces were to be exported. ``failing``: why the collector does not get them now."""

    target: str
    exported: int
    dropped: int
    failing: str = ""


@dataclass(frozen=True, slots=True)
class Shipper:
    """What the shipper of this host says of itself (``DATA_DIR/run/shipper.json``); ``at`` None: it has said nothing."""

    at: datetime | None = None
    state: str = ""
    error: str = ""
    lag_ms: int = 0
    traces: Traces | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The line on top of Overview. ``facts``: what was measured, in words, whatever the verdict."""

    status: Status
    headline: str
    facts: Sequence[str]
    findings: Sequence[Finding]
    more: int = 0


def verdict(
    *,
    glance: Glance,
    proxies: Sequence[Any],
    version: int,
    bars: Iterable[Any],
    shipper: Shipper,
    now: datetime,
    targets: Iterable[LiveTarget] = (),
) -> Verdict:
    """``proxies``: ``selectors.ProxyRow``; ``bars``: ``BudgetBar``; ``targets``: those in trouble, as the proxies see them."""
    found = [
        *_proxies(proxies, version),
        *_shipper(shipper, proxies, now),
        *(finding for one in glance.by for finding in _watched(one, glance.minutes)),
        *_breakers(targets),
        *_budgets(bars),
        *_traffic(glance, bool(proxies)),
    ]
    found.sort(key=lambda finding: (-SEVERITY.index(finding.tone), finding.rank))
    worst: Tone = found[0].tone if found else "good"
    status = {
        "bad": Status("bad", "Something is wrong", "bad"),
        "warn": Status("warn", "Look at this", "warn"),
        "unknown": Status("unknown", "Not known", "unknown"),
    }.get(worst, Status("good", "All is well", "good"))
    headline = found[0].title if found else f"Nothing that is measured is out of the ordinary in the last {glance.minutes} minutes"
    return Verdict(status, headline, _facts(glance, proxies, shipper), found[:MOST_FINDINGS], max(0, len(found) - MOST_FINDINGS))


def _facts(glance: Glance, proxies: Sequence[Any], shipper: Shipper) -> list[str]:
    whole = glance.whole
    said = []
    if whole.recent.requests:
        said.append(f"{compact(whole.recent.requests)} {'request' if whole.recent.requests == 1 else 'requests'} in {glance.minutes} min")
        said.append(f"{compact(whole.recent.failed)} failed" if whole.recent.failed else "none failed")
        if whole.recent_time.p95 is not None:
            said.append(f"p95 {duration(whole.recent_time.p95)}")
    else:
        said.append(f"no request in {glance.minutes} min")
    said.append(f"{sum(proxy.current and proxy.status.value == 'ready' for proxy in proxies)}/{len(proxies)} proxies ready")
    if shipper.at is not None and shipper.state == "running":
        said.append("records settle " + ("at once" if shipper.lag_ms < 1_000 else f"after {duration(shipper.lag_ms * 1_000)}"))
    return said


def _watched(one: Watched, minutes: int) -> list[Finding]:
    """A route or provider whose last minutes are out of the ordinary."""
    subject: Subject = "route" if one.dimension == "route" else "provider"
    past, found = one.past, []
    # The latest minutes speak where they have enough to say, so that a failure, and its end, are seen at once.
    enough = one.latest.requests >= LEAST_REQUESTS or one.latest.attempts >= LEAST_REQUESTS
    now, window = (one.latest, LATEST_MINUTES) if enough else (one.recent, minutes)
    failed = now.failed / now.requests if now.requests else 0.0
    before = past.failed / past.requests if past.requests else 0.0
    told = now.requests >= LEAST_REQUESTS and now.failed >= LEAST_FAILURES
    counts = f"{now.failed:,} of {now.requests:,} requests failed in the last {window} minutes"
    hour = f"; {percent(past.failed, past.requests)} in the hour before" if past.requests else ""
    if told and (failed >= FAILING_BAD or failed >= max(FAILING_WARN, 2 * before)):
        bad = failed >= FAILING_BAD and failed >= 1.5 * before
        title = f"{one.value} fails {percent(now.failed, now.requests)} of its requests"
        found.append(Finding("bad" if bad else "warn", subject, one.value, title, f"{counts}{hour}.", one.failing_since))
    elif subject == "provider" and now.attempt_errors >= LEAST_FAILURES and now.attempt_errors >= ATTEMPTS_WARN * now.attempts:
        title = f"{one.value} fails {percent(now.attempt_errors, now.attempts)} of its attempts; other targets answer"
        lost = f"{now.failed:,} request{'s' if now.failed > 1 else ''} with them" if now.failed else "no request was lost"
        detail = f"{now.attempt_errors:,} of {now.attempts:,} attempts failed in the last {window} minutes; {lost}."
        found.append(Finding("warn", subject, one.value, title, detail, one.failing_since))
    now_us, then_us = one.recent_time.p95, one.past_time.p95
    measured = min(one.recent_time.count, one.past_time.count) >= 2 * LEAST_REQUESTS
    if measured and now_us is not None and then_us is not None and now_us > max(SLOWER_TIMES * then_us, then_us + SLOWER_US):
        title = f"{one.value} is slow: p95 {duration(now_us)}"
        found.append(Finding("warn", subject, one.value, title, f"p95 was {duration(then_us)} in the hour before.", rank=1))
    return found


def _proxies(proxies: Sequence[Any], version: int) -> list[Finding]:
    if not proxies:
        return [Finding("unknown", "proxies", "", "No proxy has registered", "Nobody can call: start one, or look at its log.")]
    found = []
    for tone, value, words in (("bad", "unready", "not ready"), ("unknown", "silent", "silent")):
        away = [proxy for proxy in proxies if proxy.status.value == value]
        if away:
            all_of_them = len(away) == len(proxies)
            title = f"{len(away)} of {len(proxies)} proxies {'is' if len(away) == 1 else 'are'} {words}"
            detail = "; ".join(f"{proxy.name}{': ' + proxy.reason if proxy.reason else ''}" for proxy in away[:4])
            since = min(proxy.last_seen_at for proxy in away) if value == "silent" else None
            worst: Tone = "bad" if all_of_them or tone == "bad" else "unknown"
            found.append(Finding(worst, "proxies", away[0].name, title, detail, since))
    behind = [proxy for proxy in proxies if not proxy.current and proxy.status.value == "ready"]
    if behind:
        title = f"{len(behind)} of {len(proxies)} proxies {'runs' if len(behind) == 1 else 'run'} an older config than v{version}"
        found.append(
            Finding("warn", "proxies", behind[0].name, title, "; ".join(f"{proxy.name}: v{proxy.version}" for proxy in behind[:4]))
        )
    return found


def _shipper(shipper: Shipper, proxies: Sequence[Any], now: datetime) -> list[Finding]:
    """Records reach Postgres through the shipper of each host: of this one we know what it says itself, of others the journals' lag."""
    if shipper.at is not None:
        if now - shipper.at > SHIPPER_SILENT:
            detail = "Journals keep what happens meanwhile; numbers here stand still until it runs again."
            return [Finding("bad", "shipper", "shipper", "The shipper has fallen silent", detail, shipper.at)]
        if shipper.state != "running":
            return [Finding("bad", "shipper", "shipper", f"The shipper is {shipper.state}", shipper.error or "Its log says why.")]
    lag = max([shipper.lag_ms, *(proxy.lag_ms or 0 for proxy in proxies)])
    if lag >= LAG_WARNS_MS:
        title = f"Records settle {duration(lag * 1_000)} late"
        detail = "Numbers here are as old as that; a journal that fills to 80% makes its proxy refuse new requests."
        return [Finding("bad" if lag >= LAG_BAD_MS else "warn", "shipper", "shipper", title, detail)]
    if shipper.at is None and proxies and all(proxy.lag_ms is None for proxy in proxies):
        return [
            Finding(
                "unknown", "shipper", "shipper", "No shipper has reported", "Requests are answered; their records wait in the journals."
            )
        ]
    return []


def _breakers(targets: Iterable[LiveTarget]) -> list[Finding]:
    """Targets that get no requests now, a line for each provider: other targets answer, but there is one less to fall back to."""
    by_provider: dict[str, list[LiveTarget]] = {}
    for target in targets:
        if target.state in ("open", "half_open", "forced_open"):
            by_provider.setdefault(target.place.provider, []).append(target)
    found = []
    for provider, rows in by_provider.items():
        first = rows[0]
        forced = all(row.state == "forced_open" for row in rows)
        what = f"The breaker of {first.place.model} at {provider} is" if len(rows) == 1 else f"{len(rows)} breakers of {provider} are"
        title = f"{what} {'forced open' if forced else 'open'}"
        detail = f"{', '.join(row.place.model for row in rows[:4])}: {first.text}. Other targets take its requests."
        since = min((row.since for row in rows if row.since is not None), default=None)
        found.append(Finding("warn", "provider", provider, title, detail, since, rank=1))
    return found


def _budgets(bars: Iterable[Any]) -> list[Finding]:
    found = []
    for bar in bars:
        if bar.status.value in ("exhausted", "overrun"):
            detail = "It refuses requests" + (f" until {bar.ends_at:%m-%d %H:%M} UTC." if bar.ends_at else ".")
            whose = f" for the user {bar.user}" if bar.user else ""
            found.append(Finding("bad", "budget", bar.name, f"The budget {bar.name} is at its wall{whose}", detail))
        elif bar.status.value == "over":
            text = f"${dollars_text(bar.spent + bar.overrun)} of ${dollars_text(bar.limit)} are spent. It refuses nothing."
            found.append(Finding("warn", "budget", bar.name, f"The budget {bar.name} is over its limit", text))
        elif bar.status.value == "near":
            found.append(Finding("warn", "budget", bar.name, f"The budget {bar.name} is nearly used", f"{bar.spent_share:.0f}% is spent."))
    return found


def _traffic(glance: Glance, proxied: bool) -> list[Finding]:
    """Nothing to judge is no good news."""
    whole = glance.whole
    if whole.recent.requests or not proxied:
        return []
    if whole.past.requests >= LEAST_REQUESTS:
        detail = f"{compact(whole.past.requests)} came in the hour before."
        return [Finding("warn", "traffic", "", f"No request in the last {glance.minutes} minutes", detail, whole.fine_until)]
    return [Finding("unknown", "traffic", "", "No traffic to judge by", f"No request in the last {glance.minutes} minutes.")]
