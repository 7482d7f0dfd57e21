"""How providers are: from our own traffic, from probes, from breakers, and from what people say. Five queries.

2 (down) and 1 (degraded) each have a reason that an alert shows. A check that fails once is no reason until a second one fails, too;
a provider that answers our requests is not down, whatever its check says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.utils import timezone as clock

from apps.alerts.models import ProviderNote
from apps.alerts.series import Sample
from apps.alerts.sources.look import Look, Samples
from apps.alerts.sources.traffic import traffic_in
from apps.providers.choices import CHECK_STALE_MINUTES, CHECK_STATES
from apps.providers.live import live_targets
from apps.providers.selectors import providers_of
from apps.publishing.selectors import proxy_details
from apps.usage.measures import Totals

if TYPE_CHECKING:
    from apps.alerts.models import AlertRule
    from apps.providers.models import Provider

LEAST_ATTEMPTS, LEAST_FAILED = 20, 3
DEGRADED_SHARE, DOWN_SHARE = 0.05, 0.5
"""Of a provider's attempts that fail."""
CONFIRMED = timedelta(minutes=4)
"""A check's state is believed once a second check, five minutes later, found it again."""
FRESH = timedelta(minutes=CHECK_STALE_MINUTES)
NOW = timedelta(minutes=15)
"""What proxies report is of now: a minute that is longer ago is judged without."""
WELL, DEGRADED, DOWN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a provider is not well. source: ``traffic``, ``check``, ``breaker`` or ``note``."""

    level: int
    source: str
    text: str


def read(look: Look, rules: Sequence[AlertRule]) -> Samples:
    """``look.Read``."""
    providers = {provider.name: provider for provider in providers_of(look.organisation) if provider.enabled}
    notes = _notes(look)
    open_targets = _open_targets(look)
    found: dict[int, dict[str, Sample]] = {}
    for window_s in {rule.window_s for rule in rules}:
        start = look.at - timedelta(seconds=window_s)
        traffic = traffic_in(look.scope, "provider", start, look.at, named=providers, everybody=False, latency=False)
        found[window_s] = {
            name: _sample(provider, look.at, traffic[name].totals if name in traffic else Totals(), notes.get(name), open_targets.get(name))
            for name, provider in providers.items()
        }
    gone = Sample(None, missing="there is no such provider, or it is switched off")
    return {rule.pk: {name: found[rule.window_s].get(name, gone) for name in (rule.values or providers)} for rule in rules}


def _sample(provider: Provider, at: datetime, totals: Totals, note: ProviderNote | None, targets: list[str] | None) -> Sample:
    reasons, heard = [], False
    share = totals.attempt_errors / totals.attempts if totals.attempts else 0.0
    measured = totals.attempts >= LEAST_ATTEMPTS
    if measured:
        heard = True
        if totals.attempt_errors >= LEAST_FAILED and share >= DEGRADED_SHARE:
            level = DOWN if share >= DOWN_SHARE else DEGRADED
            reasons.append(Reason(level, "traffic", f"{totals.attempt_errors:,} of {totals.attempts:,} attempts failed"))
    checks = {endpoint.name: state for endpoint in provider.endpoints.all() if (state := _check(endpoint, at)) is not None}
    bad = {name: state for name, state in checks.items() if state != "up"}
    heard = heard or bool(checks)
    if bad:
        worst = (
            all(state in ("down", "refused") for state in bad.values())
            and len(bad) == len(checks)
            and not (measured and share < DOWN_SHARE)
        )
        words = ", ".join(f"{name}: {CHECK_STATES[state].label.lower()}" for name, state in sorted(bad.items()))
        reasons.append(Reason(DOWN if worst else DEGRADED, "check", f"its checks find {words}"))
    if targets:
        heard = True
        reasons.append(Reason(DEGRADED, "breaker", f"breakers are open: {', '.join(sorted(targets)[:5])}"))
    if note is not None:
        heard = True
        reasons.append(Reason(DOWN if note.state == "down" else DEGRADED, "note", f"{note.by} says: {note.text}"))
    if not heard:
        return Sample(None, totals.attempts, missing="nothing was heard of it: no attempt, no check, no note")
    evidence: dict[str, Any] = {
        "provider_id": str(provider.pk),
        "attempts": totals.attempts,
        "attempt_errors": totals.attempt_errors,
        "reasons": [{"source": one.source, "text": one.text, "level": one.level} for one in reasons],
    }
    return Sample(float(max((one.level for one in reasons), default=WELL)), totals.attempts, totals.attempt_errors, evidence=evidence)


def _check(endpoint: Any, at: datetime) -> str | None:
    """What an endpoint's checks say for certain; None: nothing."""
    row = getattr(endpoint, "check_state", None)
    if row is None or row.checked_at < at - FRESH or row.since > at:
        return None
    if row.state in ("down", "failing") and row.checked_at - row.since < CONFIRMED:
        return None
    return str(row.state)


def _notes(look: Look) -> Mapping[str, ProviderNote]:
    held = Q(until=None) | Q(until__gt=look.at)
    over = Q(ended_at=None) | Q(ended_at__gt=look.at)
    rows = ProviderNote.objects.filter(held, over, organisation=look.organisation, at__lte=look.at).select_related("provider")
    return {row.provider.name: row for row in rows.order_by("at")}


def _open_targets(look: Look) -> dict[str, list[str]]:
    """Provider -> its targets whose breakers are open, as proxies say now."""
    if abs(clock.now() - look.at) > NOW:
        return {}
    found: dict[str, list[str]] = {}
    for target in live_targets(look.organisation, proxy_details()):
        if target.state == "open" and (target.since is None or target.since <= look.at):
            found.setdefault(target.place.provider, []).append(f"{target.place.endpoint}/{target.place.model}")
    return found
