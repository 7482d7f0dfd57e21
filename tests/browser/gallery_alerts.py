"""Rules, alerts in every state, SLOs, channels, policies, silences and deliveries, for the gallery."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.utils import timezone
from django.utils.text import slugify

from apps.accounts.models import Organisation


def alerts_seed(organisation: Organisation, names: Sequence[str], *, by: str) -> None:
    """A rule, an alert, an SLO, a channel, a policy, a silence and a delivery for every name, in every state in turn."""
    from apps.accounts.models import User
    from apps.alerts import channel_choices
    from apps.alerts.channel_models import AlertChannel, Delivery, EscalationStep, NotificationPolicy, Unreachable
    from apps.alerts.models import Alert, AlertEvent, AlertRule, ProviderNote, Silence, Slo
    from apps.alerts.rule_services import slo_create
    from apps.audit.actors import Actor
    from apps.ownership.models import Rotation, Team
    from apps.providers.models import Provider
    from controlplane.masterkey import encrypt

    now, user = timezone.now(), User.objects.get(email=by)
    teams = list(Team.objects.filter(organisation=organisation).order_by("name")[:3])
    for at, name in enumerate(names):
        slug = f"{slugify(name)[:30] or 'odd'}-{at}".strip("-")
        owner = teams[at % len(teams)] if teams and at % 2 else None
        rule, made = AlertRule.objects.get_or_create(
            organisation=organisation, name=slug,
            defaults={
                "title": name[:200], "series": ("error_rate", "latency_p95", "queue_depth")[at % 3], "owner": owner, "enabled": at % 5 != 4,
                "scope": {"by": "route"} if at % 3 < 2 else {"by": ""}, "comparison": "times_baseline" if at % 3 == 1 else "above",
                "warn": (0.01, 2, 1000)[at % 3], "critical": (0.05, 5, 10000)[at % 3], "labels": {"layer": "provider"} if at % 2 else {},
                "runbook": "https://wiki.example.test/" + slug if at % 2 else "",
            },
        )  # fmt: skip
        if not made:
            continue
        state = ("firing", "acknowledged", "pending", "resolved")[at % 4]
        begun = now - timedelta(minutes=7 + 13 * at)
        alert = Alert.objects.create(
            organisation=organisation, rule=rule, fingerprint=slug[:32], by=rule.by, subject=name[:300] if rule.by else "", state=state,
            severity=("critical", "warning")[at % 2], value=(0.083, 2_400_000.0, 1_312.0)[at % 3],
            threshold=(0.05, 1_600_000.0, 1_000.0)[at % 3], group_key=slug, started_at=begun, judged_at=now,
            fired_at=None if state == "pending" else begun + timedelta(minutes=1), resolved_at=now if state == "resolved" else None,
            acked_by=by if state == "acknowledged" else "", acked_at=now if state == "acknowledged" else None,
            silenced_until=now + timedelta(hours=2) if at % 8 == 4 else None,
            evidence={
                "samples": 1234, "samples_of": "requests", "failed": 103, "worst": {"value": 0.11, "at": begun.isoformat()},
                **({"baseline": 800_000.0, "learning": True} if at % 3 == 1 else {}),
            },
        )  # fmt: skip
        values = ((0, "pending", 0.02), (1, "fired", 0.06), (4, "worsened", 0.083))
        AlertEvent.objects.bulk_create(
            AlertEvent(
                alert=alert, at=begun + timedelta(minutes=after), kind=kind, severity="warning",
                value=value * (1, 3e7, 2e4)[at % 3], handed_at=now,
            )
            for after, kind, value in values
        )  # fmt: skip
        kind = list(channel_choices.KINDS)[at % 5]
        channel = AlertChannel.objects.create(
            organisation=organisation, name=slug, kind=kind, address=encrypt("https://hooks.example.test/x"),
            shown=("https://hooks.example.test/…" if kind != "email" else f"{slug}@example.test")[:254], enabled=at % 4 != 3,
            team=owner if at % 3 else None, person=user if at == 2 else None if owner or at != 4 else user,
        ) if not (owner and at in (2, 4)) else None  # fmt: skip
        delivered = list(channel_choices.STATES)[at % 6]
        Delivery.objects.create(
            organisation=organisation, alert=alert, channel=channel, about=f"gallery:{slug}", receiver=f"channel:{slug}"[:120],
            name=(name or slug)[:254], kind=kind, what=list(channel_choices.WHATS)[at % 6], state=delivered, due_at=now, created_at=begun,
            message={"title": f"Critical: {name}"[:400]}, tries=at % 4, told="it answered 503" if delivered == "failed" else "",
        )  # fmt: skip
        policy = NotificationPolicy.objects.create(
            organisation=organisation, name=slug, position=at, team=owner, severity=("", "critical")[at % 2], days=(127, 31)[at % 2],
            from_minute=(0, 540)[at % 2], to_minute=(1440, 1080)[at % 2], zone="Europe/Berlin",
        )  # fmt: skip
        for place, target in enumerate(("on-call", "next", "leads")[: at % 4]):
            EscalationStep.objects.create(policy=policy, position=place, after_minutes=10 * place, target=target)
        Silence.objects.create(
            organisation=organisation, alert=alert if at % 2 else None, matcher={} if at % 2 else {"rule": slug, "severity": "warning"},
            starts_at=now - timedelta(hours=1), until=now + timedelta(hours=at % 3 or -0.5), reason=name[:300] or "known", by=by,
        )  # fmt: skip
        if at < 4 and not Slo.objects.filter(organisation=organisation, name=slug).exists():
            slo_create(
                actor=Actor.command("gallery"), organisation=organisation, name=slug, title=name.strip()[:190] or slug, owner=owner,
                indicator=("availability", "ttft")[at % 2], objective="99.9", threshold_ms=800 if at % 2 else None,
            )  # fmt: skip
    provider = Provider.objects.filter(organisation=organisation).order_by("name").first()
    if names and provider is not None:
        ProviderNote.objects.create(
            organisation=organisation, provider=provider, state="degraded", text="Their status page says errors.", by=by, at=now
        )
    rotation = Rotation.objects.filter(organisation=organisation, kind="on-call").first()
    if names and rotation is not None:
        Unreachable.objects.get_or_create(rotation=rotation, defaults={"organisation": organisation, "why": "Nobody is on.", "since": now})
