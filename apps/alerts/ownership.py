"""What of alerts is about a team or a service, and would be left without it."""

from __future__ import annotations

from typing import Any

from apps.alerts.channel_models import AlertChannel, NotificationPolicy
from apps.alerts.models import AlertRule, Slo
from apps.ownership.models import Service, Team
from apps.ownership.owned import About
from apps.ownership.selectors import same_slug


def about_team(team: Team) -> list[About]:
    """What the team watches and how it is told: rules and SLOs that it owns, its channels, policies for what it owns."""
    return [
        About("alert_rule", "alerts:rule", AlertRule.objects.filter(owner=team, deleted_at=None, slo=None)),
        About("SLO", "alerts:slo", Slo.objects.filter(owner=team, deleted_at=None)),
        About("notification_policy", "alerts:routing", NotificationPolicy.objects.filter(team=team), argument=""),
        About("alert_channel", "alerts:channels", AlertChannel.objects.filter(team=team), argument=""),
    ]


def about_service(service: Service) -> list[About]:
    """Rules and SLOs that look at the service by its short name, unless another team has one that is called the same."""
    alone = ~same_slug(service)
    of: dict[str, Any] = {"organisation_id": service.team.organisation_id, "deleted_at": None}
    named = AlertRule.objects.filter(alone, **of, slo=None, scope__by="service", scope__values__contains=[service.slug])
    return [
        About("alert_rule", "alerts:rule", named),
        About("SLO", "alerts:slo", Slo.objects.filter(alone, **of, by="service", subject=service.slug)),
    ]
