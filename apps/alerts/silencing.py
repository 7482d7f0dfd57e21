"""Which silences are about which alerts, and which worse alert explains another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db.models import Q

from apps.alerts import choices
from apps.alerts.models import Alert, Silence
from apps.alerts.rules import matches
from apps.routes.models import RouteTarget

EXPLAINS = "provider_state"
"""The series whose critical alerts explain those of the provider's routes, and of the provider's own figures."""
GRACE = timedelta(minutes=10)
"""For so long after its end it still explains what it explained: windows look back, and the routes' figures recover after the provider."""


def silences_alert(silence: Silence, alert: Alert) -> bool:
    """Whether a silence is about an alert, whenever it holds; the alert's rule is read already."""
    if silence.alert_id is not None:
        return silence.alert_id == alert.pk
    rule = alert.rule
    return matches(silence.matcher, rule=rule.name, subject=alert.subject, severity=alert.severity, labels={**rule.labels, "by": alert.by})


def silences_at(organisation: object, at: datetime) -> list[Silence]:
    """The silences that hold at a moment: one query."""
    over = Q(ended_at=None) | Q(ended_at__gt=at)
    return list(Silence.objects.filter(over, organisation=organisation, starts_at__lte=at, until__gt=at))


def silenced_until(silences: Iterable[Silence], alert: Alert) -> datetime | None:
    """Until when nobody is told of an alert; None: no silence holds."""
    return max((silence.until for silence in silences if silences_alert(silence, alert)), default=None)


class Explaining:
    """Alerts of providers: a critical one explains the alerts of its routes, and goes on explaining those until ``GRACE`` after its end."""

    def __init__(self, known: Sequence[Alert], at: datetime) -> None:
        """known: the organisation's alerts as they are after this minute, those included that ended with it."""
        self._alerts = {alert.pk: alert for alert in known if alert.rule.series == EXPLAINS}
        self._down = {
            alert.subject: alert for alert in self._alerts.values() if alert.severity == choices.CRITICAL and alert.state in choices.FIRED
        }
        self._routes: Mapping[str, set[str]] | None = None
        self._at = at

    def of(self, alert: Alert) -> Alert | None:
        """What explains an alert now; None: nothing does."""
        if alert.rule.series == EXPLAINS:
            return None
        for provider in self._providers(alert):
            if provider in self._down:
                return self._down[provider]
        before = self._before(alert)
        if before is None or (before.resolved_at is not None and self._at - before.resolved_at >= GRACE):
            return None
        return before

    def _providers(self, alert: Alert) -> Iterable[str]:
        if not self._down:
            return ()
        if alert.by == "provider":
            return (alert.subject,)
        if alert.by != "route":
            return ()
        if self._routes is None:
            found: dict[str, set[str]] = {}
            rows = RouteTarget.objects.filter(route__organisation=alert.organisation_id, provider__name__in=list(self._down))
            for route, provider in rows.values_list("route__name", "provider__name"):
                found.setdefault(route, set()).add(provider)
            self._routes = found
        return sorted(self._routes.get(alert.subject, ()))

    def _before(self, alert: Alert) -> Alert | None:
        """What explained it the minute before."""
        if alert.inhibited_by_id is None:
            return None
        if alert.inhibited_by_id not in self._alerts:
            self._alerts[alert.inhibited_by_id] = Alert.objects.select_related("rule").get(pk=alert.inhibited_by_id)
        return self._alerts[alert.inhibited_by_id]
