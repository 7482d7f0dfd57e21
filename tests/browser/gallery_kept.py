"""What people keep and find for the gallery: captures, feedback, saved views, flips, anomalies, forecasts, people, tokens, sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

import msgspec
from django.db import connection
from django.utils import timezone

from apps.accounts.models import Organisation


def kept_seed(organisation: Organisation, names: Sequence[str], *, by: str) -> None:
    """One of everything for every name, in every state in turn, about the newest requests and the first keys and routes."""
    from apps.accounts.models import User
    from apps.contracts.feedback import FeedbackRecord
    from apps.dashboard.models import SavedView
    from apps.flags.consequences import Prediction
    from apps.flags.flip_models import FlagFlip
    from apps.flags.models import Flag
    from apps.keys.models import VirtualKey
    from apps.ownership.models import Team
    from apps.prices.changes import PriceEvidence
    from apps.routes.models import Route
    from apps.usage.anomaly_rules import KeyEvidence
    from apps.usage.capture_models import CapturePatterns, CaptureRule, CaptureSample
    from apps.usage.choices import PRICE_CHANGE, RUNAWAY_KEY
    from apps.usage.feedback import feedback_store
    from apps.usage.models import SpendAnomaly, SpendForecast, UsageRequest
    from controlplane.masterkey import encrypt

    now, user = timezone.now(), User.objects.get(email=by)
    team = Team.objects.filter(organisation=organisation).order_by("name").first()
    routes = list(Route.objects.filter(organisation=organisation).order_by("name")[: len(names)])
    keys = list(VirtualKey.objects.filter(organisation=organisation).order_by("name")[: len(names)])
    requests = list(UsageRequest.objects.filter(organisation=str(organisation.pk)).order_by("-started_at")[: len(names)])

    rules = []
    for at, route in enumerate(routes[:8]):
        rule = CaptureRule.objects.create(
            organisation=organisation, route_id=str(route.pk), route_name=route.name, percent=(0.1, 12.5, 100)[at % 3],
            days=(1, 7, 30)[at % 3], taken=at * 1_234, until=now + timedelta(hours=3) if at % 2 else None,
            reason=names[at % len(names)][:2000], by=by, ended_at=now - timedelta(hours=at) if at % 4 == 3 else None,
        )  # fmt: skip
        rules.append(rule)
    for key in keys[:2]:
        CaptureRule.objects.create(
            organisation=organisation, key_id=str(key.pk), key_name=key.name[:80], wanted=50, taken=3, until=now + timedelta(hours=1),
            days=7, by=by,
        )  # fmt: skip
    for at, request in enumerate(requests[:40]):
        said = names[at % len(names)]
        CaptureSample.objects.create(
            request_id=request.id, organisation=organisation, rule=rules[at % len(rules)] if rules else None, route=request.route[:200],
            key_id=request.key_id, at=request.started_at, status=200 if at % 5 else 502, size=1_000 * at + 7, cut=at % 4 == 1,
            body=encrypt(json.dumps({"request": {"messages": [{"role": "user", "content": said * 20}]}, "answer": said * 40})),
            found={"email": at, "card number": 1} if at % 3 else {}, expires_at=now + timedelta(days=7),
        )  # fmt: skip
    CapturePatterns.objects.get_or_create(
        organisation=organisation, defaults={"patterns": [["customer number", "C-99999999"], [names[0][:40], "AA-999-AA"]]}
    )
    records = [
        FeedbackRecord(
            at_us=int(now.timestamp() * 1_000_000), score=(1.0, -1.0, 0.0, None)[at % 4],
            reason=names[at % len(names)][:2000] if at % 2 else None,
            outcome=("escalated", "solved", None)[at % 3], tags=[names[at % len(names)][:64]] if at % 3 == 0 else None,
            client_ms=60_000 if at % 2 else None, organisation=str(organisation.pk), key_id=request.key_id, team=request.team,
            request=request.id.bytes,
        )
        for at, request in enumerate(requests)
    ]  # fmt: skip
    with connection.cursor() as cursor:
        feedback_store(cursor=cursor, records=records)

    for at, name in enumerate(names[:40]):
        SavedView.objects.get_or_create(
            organisation=organisation, owner=user, name=name[:80],
            defaults={"path": "/dashboards/", "query": "from=now-24h&to=now", "team": team if at % 2 else None},
        )  # fmt: skip
        subject = str(keys[at % len(keys)].pk) if keys and at % 2 else f"{name[:100]}/{name[:150]}"
        if at % 2:
            evidence = KeyEvidence(9 * 10**9, 10**8, 10**9, 3 * 10**9, 28, now.isoformat(), 1_234, hours=at).document
        else:
            evidence = PriceEvidence("v1", "v2", 10**8, 10**9, 2 * 10**8, 10**9, 10**6, 10**5, 10**8, 2 * 10**8, 100.0).document
        SpendAnomaly.objects.get_or_create(
            organisation=organisation, simulated=organisation.simulated, subject=subject[:300],
            kind=RUNAWAY_KEY if at % 2 else PRICE_CHANGE, starts_at=now - timedelta(hours=at + 1),
            defaults={
                "ends_at": now, "evidence": evidence, "acknowledged_at": now if at % 3 == 2 else None,
                "acknowledged_by": by if at % 3 == 2 else "", "reason": name[:300] if at % 3 == 2 else "",
            },
        )  # fmt: skip
        SpendForecast.objects.get_or_create(
            organisation=organisation, simulated=organisation.simulated, made_on=(now - timedelta(days=at)).date(),
            defaults={
                "days": 20, "spent_nano": 10**9 * (at + 1), "day_nano": 10**9, "day_low_nano": 10**8, "day_high_nano": 3 * 10**9,
                "month_nano": 31 * 10**9, "month_low_nano": 20 * 10**9, "month_high_nano": 45 * 10**9,
            },
        )  # fmt: skip
    for flag in Flag.objects.filter(organisation=organisation).order_by("name")[:12]:
        for at in range(min(len(names), 8)):
            FlagFlip.objects.create(
                organisation=organisation, flag=flag, flag_name=flag.name, subject_kind=flag.subject_kind, subject_id=flag.subject_id,
                turn_on=at % 2 == 0, share=(100, 5)[at % 2], simulated=organisation.simulated, reason=names[at][:300], by=by,
                at=now - timedelta(hours=3 * at), version=170 + at, followed_until=now,
                predicted=msgspec.to_builtins(Prediction(minutes=60, requests=0, gaps=["Nothing was measured on these routes."])),
            )  # fmt: skip


def people_seed(names: Sequence[str], *, by: str) -> None:
    """People of every role and of none, invitations that wait and that ended, tokens that are used, unused, expired and revoked."""
    from apps.accounts.models import Invitation, Membership, User
    from apps.accounts.rules import Role
    from apps.accounts.token_models import PersonalToken

    now, user, roles = timezone.now(), User.objects.get(email=by), [role.value for role in Role]
    organisations = list(Organisation.objects.order_by("slug"))
    for at, name in enumerate(names):
        local = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "odd"
        told = {"name": name[:200], "is_active": at % 9 != 8}
        person, made = User.objects.get_or_create(email=f"{local}-{at}@example.test", defaults=told)
        if made and at % 7:
            Membership.objects.bulk_create(
                Membership(user=person, organisation=one, role=roles[at % len(roles)]) for one in organisations[: 1 + at % 3]
            )
        if at < 20:
            Invitation.objects.get_or_create(
                email=f"invited-{local}-{at}@example.test",
                defaults={
                    "roles": {organisations[at % len(organisations)].slug: roles[at % len(roles)]}, "invited_by": f"{name[:400]} <{by}>",
                    "token_hash": sha256(f"invitation {at}".encode()).hexdigest(), "sent_at": now - timedelta(days=at),
                    "expires_at": now + timedelta(days=7 - at),
                },
            )  # fmt: skip
            PersonalToken.objects.get_or_create(
                user=user, name=name[:80] or str(at),
                defaults={
                    "secret_hash": sha256(f"token {at}".encode()).hexdigest(), "hint": f"{at:04}", "scopes": ["routes:read", "flags:write"],
                    "expires_at": now + timedelta(days=30 - 5 * at), "used_at": now - timedelta(hours=at) if at % 2 else None,
                    "used_from": "192.0.2.7" if at % 2 else "", "revoked_at": now if at % 5 == 4 else None,
                },
            )  # fmt: skip


def sizes_seed(days: int) -> None:
    """What the database weighed on so many days, as though it had grown by two percent a day."""
    from apps.usage.storage import storage_sample

    today = timezone.now().date()
    storage_sample(today=today)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO usage_storage (day, name, bytes, rows) SELECT day - ago, name, (bytes * (1 - 0.02 * ago))::bigint, rows "
            "FROM usage_storage, generate_series(1, %s) AS ago WHERE day = %s ON CONFLICT DO NOTHING",
            [days, today],
        )
