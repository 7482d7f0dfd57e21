"""Everything a key's page shows, gathered: each property is one query or two, made when first needed and never twice."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property

from django.urls import reverse

from apps.accounts.scope import Choice
from apps.audit.models import AuditEvent
from apps.audit.selectors import audit_events
from apps.contracts.tokens import SECRET_PRESENT, SECRET_REPLACED
from apps.keys import choices, rules
from apps.keys.models import KeyDigest, VirtualKey
from apps.keys.neighbours import BudgetLine, KnownRoute, LimitLine, budgets_known, limits_known, routes_known
from apps.ui.plots import Plot
from apps.ui.status import Status
from apps.ui.timerange import TimeRange
from apps.usage import plots
from apps.usage import selectors as usage
from apps.usage.choices import OUTCOMES
from apps.usage.measures import Series
from apps.usage.models import UsageRequest
from apps.usage.recency import secrets_last_used
from apps.usage.requests import request_page

LAST = 10
EVENTS = 30
ROUTES = 50
TABS = (("use", "Use"), ("access", "Routes and limits"), ("connect", "Connect"), ("history", "History"))


class KeyDetail:
    """One key as its page shows it."""

    def __init__(self, choice: Choice, key: VirtualKey, time_range: TimeRange) -> None:
        self.choice = choice
        self.key = key
        self.range = time_range
        self.now = datetime.now(UTC)

    @property
    def status(self) -> Status:
        key = self.key
        return choices.STATES[rules.state_of(state=key.state, enabled=key.enabled, expires_at=key.expires_at, now=self.now)]

    @property
    def revoked(self) -> bool:
        return self.key.state == "revoked"

    @property
    def old_until(self) -> datetime | None:
        """Until when a replaced secret opens the key too, where one still does."""
        until: datetime | None = getattr(self.key, "old_until", None)
        return until if until is not None and until > self.now else None

    @property
    def owner(self) -> str:
        key = self.key
        return f"{key.service.team.name} / {key.service.name}" if key.service else key.team.name if key.team else ""

    @cached_property
    def secrets(self) -> list[tuple[str, datetime, datetime | None, datetime | None]]:
        """While two secrets open the key: (which, since when it does, until when, last used) of each, the newest first; else nothing."""
        if self.old_until is None:
            return []
        rows = list(KeyDigest.objects.filter(key=self.key).order_by("-created_at"))
        since = min(row.created_at for row in rows) if rows else self.now
        used = secrets_last_used(self.choice.scope, str(self.key.pk), since=max(since, self.now - rules.OVERLAP))
        new = used.get(SECRET_PRESENT)  # of an earlier overlap where it is older than the secret itself
        return [
            ("New secret", row.created_at, None, new if new is not None and new >= row.created_at else None)
            if row.expires_at is None
            else ("Replaced secret", row.created_at, row.expires_at, used.get(SECRET_REPLACED))
            for row in rows
            if row.expires_at is None or row.expires_at > self.now
        ]

    @cached_property
    def series(self) -> Series:
        return usage.traffic_series(
            self.choice.scope, self.range.start, self.range.end, dimension="key_id", value=str(self.key.pk), latency=False, now=self.now
        )

    @cached_property
    def plots(self) -> list[Plot]:
        return [plots.traffic(self.series), plots.spend(self.series)]

    @cached_property
    def budgets(self) -> list[BudgetLine]:
        """Those of the key, then those of its organisation."""
        bars = budgets_known(self.choice.organisation, now=self.now, key_ids=[str(self.key.pk)])
        return sorted(bars, key=lambda bar: not bar.key_id)

    @cached_property
    def limits(self) -> list[LimitLine]:
        """Those of the key, of its team and of its organisation."""
        team_id = self.key.service.team_id if self.key.service else self.key.team_id
        return limits_known(self.choice.organisation, key_id=str(self.key.pk), team_id=str(team_id or ""))

    @property
    def limit_url(self) -> str:
        """Where a limit of the key is set; empty for whom may not."""
        return f"{reverse('limits:create')}?for=key:{self.key.pk}" if self.choice.may("limit.change") and not self.revoked else ""

    @cached_property
    def newest(self) -> list[UsageRequest]:
        """Its newest requests until the range's end, those before the range too: they tell when it was used last."""
        start = min(self.range.start, self.key.created_at)
        page = request_page(self.choice.scope, start, self.range.end, filters={"key_id": str(self.key.pk)}, limit=LAST)
        return list(page.rows)

    @property
    def requests(self) -> list[tuple[UsageRequest, Status]]:
        """Its newest requests in the range."""
        return [(record, OUTCOMES[record.outcome]) for record in self.newest if record.started_at >= self.range.start]

    @property
    def last_used(self) -> datetime | None:
        """When it was last used until the range's end."""
        return self.newest[0].started_at if self.newest else None

    @cached_property
    def routes(self) -> list[tuple[KnownRoute, bool]]:
        """Every route of the organisation, with whether the key may use it."""
        return [(route, allowed(self.key, route)) for route in routes_known(self.choice.organisation)]

    @property
    def routes_first(self) -> list[tuple[KnownRoute, bool]]:
        """So many routes as a page shows, those first that the key may use."""
        return sorted(self.routes, key=lambda pair: not pair[1])[:ROUTES]

    @property
    def unknown_routes(self) -> list[str]:
        """Names that the key may use and that no route has: yet, or any more."""
        known = {name for route, _ in self.routes for name in route.names}
        return [name for name in self.key.routes if name != choices.ALL_ROUTES and name not in known]

    @cached_property
    def model(self) -> str:
        """What a first call could name: a route that this key may use and that is enabled."""
        return model_for(self.key, [route for route, _ in self.routes])

    @cached_property
    def events(self) -> list[AuditEvent]:
        """Who changed what, newest first."""
        return list(audit_events(subject_kind="key", subject_id=self.key.pk)[:EVENTS])


def allowed(key: VirtualKey, route: KnownRoute) -> bool:
    """Whether a key may use a route, by its name or an alias."""
    return choices.ALL_ROUTES in key.routes or any(name in key.routes for name in route.names)


def model_for(key: VirtualKey, routes: list[KnownRoute]) -> str:
    """A name that a call with this key can send as ``model``: its first enabled route, under the name that the key is given."""
    for route in sorted(routes, key=lambda route: not route.enabled):
        if choices.ALL_ROUTES in key.routes:
            return route.name
        for name in route.names:
            if name in key.routes:
                return name
    return ""
