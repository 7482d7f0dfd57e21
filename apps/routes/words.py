"""A route's resilience in words, as its page says it: what acts, not every number. Pure."""

from __future__ import annotations

from apps.contracts.snapshot import Resilience
from apps.routes.choices import RESILIENCE_CHOICES
from apps.ui.format import duration


def resilience_words(settings: Resilience) -> list[tuple[str, str]]:
    """Label and text of what acts, in the order of the form."""
    return [
        ("Order", _order(settings)),
        ("Retry budget", f"{settings.retry_budget_percent}% of recent requests"),
        ("Hedging", _hedging(settings)),
        ("Broken streams", _chosen("rescue", settings.rescue)),
        ("Runs at once", _caps(settings)),
        ("Breaker", _breaker(settings)),
        ("Does not fit", _chosen("context", settings.context)),
        *([("Until real output", _ms(settings.first_token_ms))] if settings.first_token_ms else []),
        *([("Degraded", _chosen("level", settings.level))] if settings.level != "full" else []),
        *([("Canned answer", settings.canned)] if settings.canned else []),
        *([("Mirror", _mirror(settings))] if settings.mirror is not None else []),
    ]


def _chosen(name: str, value: str) -> str:
    return dict(RESILIENCE_CHOICES[name])[value]


def _ms(ms: int) -> str:
    return duration(ms * 1_000)


def _order(settings: Resilience) -> str:
    words = _chosen("strategy", settings.strategy)
    if settings.strategy == "region":
        words += f", from {settings.region}"
    if settings.sticky:
        words += f"; sticky {_chosen('sticky', settings.sticky).lower()}"
    return words


def _hedging(settings: Resilience) -> str:
    if not settings.hedge_percent:
        return "Off"
    after = f"after {_ms(settings.hedge_after_ms)}" if settings.hedge_after_ms else "after the target's own p95"
    return f"Up to {settings.hedge_percent}% of requests, {after}"


def _caps(settings: Resilience) -> str:
    cap = f"{settings.max_concurrency:,} per proxy" if settings.max_concurrency else "No cap"
    return f"{cap}; {settings.queue_size:,} wait for up to {_ms(settings.queue_ms)}"


def _breaker(settings: Resilience) -> str:
    policy = settings.breaker
    if not policy.enabled:
        return "Off"
    rules = []
    if policy.consecutive:
        rules.append(f"{policy.consecutive} failures in a row")
    if policy.failure_percent:
        rules.append(f"{policy.failure_percent}% of {policy.minimum} or more in {_ms(policy.window_ms)}")
    return f"Opens for {_ms(policy.open_ms)} after {' or '.join(rules)}"


def _mirror(settings: Resilience) -> str:
    assert settings.mirror is not None
    target = settings.mirror.target
    return f"{settings.mirror.percent}% to {target.provider}/{target.model}"
