"""Tells a budget's owner, by e-mail, webhook and Slack-compatible webhook. An alert is claimed before it is told, so two never tell it.

What a rule of the alerts tells (``BudgetAlert.rule``) is told there, by the same ways among others (``alerting.day_told``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
from django.conf import settings
from django.core.mail import send_mail
from django.db.models import F, Q
from django.utils import timezone as clock

from apps.budgets.choices import ALERT_KINDS
from apps.budgets.forecast import runway_minutes
from apps.budgets.models import BudgetAlert
from apps.budgets.standings import window_standings
from apps.contracts.money import dollars_text
from apps.providers.outbound import client
from apps.providers.vault import VaultError, decrypt

MOST_TRIES = 5
CLAIM = timedelta(minutes=10)
"""After so long without a word from whoever claimed it, an alert is anybody's again."""
Open = Callable[[], httpx.Client]

log = logging.getLogger("bulkhead.budgets")


def untold() -> list[int]:
    """Alerts that wait to be told by their budget, also those whose last try failed."""
    mine = BudgetAlert.objects.filter(_free(), told_at=None, tries__lt=MOST_TRIES, rule="")
    return list(mine.order_by("id").values_list("pk", flat=True)[:500])


def alert_tell(alert_id: int, *, open_client: Open = lambda: client(allow_private=False)) -> bool:
    """Tell one alert by every way that its budget names. False: somebody else does, or it was told, or tried often enough.

    A way that fails is tried again later, up to ``MOST_TRIES`` times; ways that worked are not used twice.
    """
    mine = BudgetAlert.objects.filter(_free(), pk=alert_id, told_at=None, tries__lt=MOST_TRIES, rule="")
    if not mine.update(claimed_at=clock.now(), tries=F("tries") + 1):
        return False
    alert = BudgetAlert.objects.select_related("window__budget__organisation").get(pk=alert_id)
    budget = alert.window.budget
    done = [way for way in alert.told.split("; ") if way and not way.startswith("failed")]
    failed = []
    subject, text = alert_words(alert)
    ways: list[tuple[str, str, Callable[[], None]]] = [
        ("e-mail", budget.owner_email, lambda: mail_send(budget.owner_email, subject, text)),
        ("webhook", budget.webhook, lambda: _post(budget.webhook, _document(alert, text), open_client)),
        ("Slack", budget.slack_webhook, lambda: _post(budget.slack_webhook, {"text": f"*{subject}*\n{text}"}, open_client)),
    ]
    for way, target, tell in ways:
        if not target or way in done:
            continue
        try:
            tell()
            done.append(way)
        except (httpx.HTTPError, OSError, VaultError, ValueError) as error:
            log.warning("budgets: alert %d could not be told by %s: %s: %s", alert.pk, way, type(error).__name__, error)
            failed.append(f"failed: {way} ({type(error).__name__})")
    alert.told = "; ".join([*done, *failed])[:300] or "shown on the pages only"
    alert.told_at = None if failed and alert.tries < MOST_TRIES else clock.now()
    alert.claimed_at = None
    alert.save(update_fields=["told", "told_at", "claimed_at"])
    return True


def alert_words(alert: BudgetAlert) -> tuple[str, str]:
    """(subject, text) for people; neither has anything that an app could have put there but the budget's own name."""
    budget = alert.window.budget
    level = "critical" if alert.critical else "warning"
    what = {
        "actual": f"has spent {alert.share} % of its limit or more",
        "forecast": f"is going to spend {alert.share} % of its limit or more in this {budget.window}",
        "pace": f"spends at {alert.share} % of the day's money or more",
    }[alert.kind]
    subject = f"[Bulkhead] {level}: budget {budget.name} {what}"
    lines = [
        f"The budget {budget.name} of {budget.organisation.name} {what}.",
        f"{ALERT_KINDS[alert.kind]}: ${dollars_text(alert.value_nano)} of ${dollars_text(alert.limit_nano)} per {budget.window}.",
    ]
    standing = next((each.standing for each in window_standings([budget.pk]) if each.window == alert.window_id), None)
    minutes = runway_minutes(standing) if standing is not None else None
    if minutes is not None:
        lines.append(f"Runway: {minutes} minutes at the present rate.")
    lines.append(
        {"hard": "It is a hard budget: what does not fit is refused.", "throttle": f"Its thresholds act: {budget.actions}."}.get(
            budget.kind, "It refuses nothing."
        )
    )
    return subject[:250], "\n".join(lines)


def _document(alert: BudgetAlert, text: str) -> dict[str, Any]:
    budget = alert.window.budget
    return {
        "event": "budget.alert",
        "budget": {"id": str(budget.pk), "name": budget.name, "organisation": budget.organisation.slug, "window": budget.window},
        "kind": alert.kind,
        "percent": alert.share,
        "critical": alert.critical,
        "value_nano": alert.value_nano,
        "limit_nano": alert.limit_nano,
        "window": {"starts_at": alert.window.starts_at.isoformat(), "ends_at": alert.window.ends_at.isoformat()},
        "text": text,
    }


def mail_send(address: str, subject: str, text: str) -> None:
    """One e-mail to an owner. Raises ValueError where no mail server is set, OSError where it does not take it."""
    if not settings.EMAIL_HOST:
        raise ValueError("no mail server is set: BULKHEAD_SMTP_URL")
    send_mail(" ".join(subject.split()), text, settings.DEFAULT_FROM_EMAIL, [address])


def _post(sealed: str, document: dict[str, Any], open_client: Open) -> None:
    with open_client() as http:
        http.post(decrypt(sealed), json=document).raise_for_status()


def _free() -> Q:
    return Q(claimed_at=None) | Q(claimed_at__lt=clock.now() - CLAIM)
