"""What people hold of routes beside their config: switched traffic, forced breakers; and routes that are degraded by their own config."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import CharField, Q
from django.db.models.functions import Cast, JSONObject, Now
from django.urls import reverse
from django.utils import timezone

from apps.accounts.scope import Choice
from apps.flags.neighbours import InForce, Override
from apps.routes.choices import target_text
from apps.routes.models import Route, RouteSwitch
from apps.routes.selectors import held_breakers, resilience, spec_of


def switches_fact() -> ArraySubquery:
    """The switches in force, of all organisations, for ``apps.flags.neighbours.register_in_force``."""
    rows = RouteSwitch.objects.filter(Q(until=None) | Q(until__gt=Now())).order_by("route__name")
    told = JSONObject(
        organisation=Cast("route__organisation_id", CharField()), id=Cast("route_id", CharField()), name="route__name",
        provider="provider__name", reason="reason", by="by", at="at", until="until",
    )  # fmt: skip
    return ArraySubquery(rows.annotate(told=told).values("told"))


def switch_told(row: Mapping[str, Any]) -> list[InForce]:
    """A row of ``switches_fact``."""
    url, until = reverse("routes:detail", args=[row["id"]]), row["until"] and datetime.fromisoformat(row["until"])
    part = f"to {row['provider']}"
    return [InForce(row["name"], "switch", row["reason"], row["by"], datetime.fromisoformat(row["at"]), until, url, part)]


def breakers_fact() -> ArraySubquery:
    """The routes from which a breaker is forced, of all organisations."""
    told = JSONObject(organisation=Cast("organisation_id", CharField()), id=Cast("pk", CharField()), forced="forced")
    return ArraySubquery(Route.objects.exclude(forced=[]).order_by("name").annotate(told=told).values("told"))


def breakers_told(row: Mapping[str, Any]) -> list[InForce]:
    """A row of ``breakers_fact``: each breaker that is held now."""
    found, now, url = [], timezone.now(), reverse("routes:detail", args=[row["id"]])
    for held in row["forced"]:
        until = datetime.fromisoformat(held["until"]) if held["until"] else None
        if until is None or until > now:
            name, since = f"{held['provider']}/{held['model']}", datetime.fromisoformat(held["at"])
            found.append(InForce(name, "breaker", held["reason"], held["by"], since, until, url, held["state"]))
    return found


def route_overrides(choice: Choice, now: datetime) -> list[Override]:
    """Switches, forced breakers and degraded routes of an organisation: one query."""
    rows = Route.objects.filter(organisation=choice.organisation).filter(
        Q(switch__isnull=False) | ~Q(forced=[]) | Q(resilience__has_key="level")
    )
    found = []
    for route in rows.select_related("switch", "switch__provider", "switch__endpoint").order_by("name"):
        url, switch = reverse("routes:detail", args=[route.pk]), getattr(route, "switch", None)
        if switch is not None and (switch.until is None or switch.until > now):
            what = f"Sends all traffic of route {route.name} to {target_text(spec_of(switch))}"
            detail = "others only when it fails" if switch.failover else "no other target, even when it fails"
            found.append(Override("switch", route.name, what, url, switch.at, switch.until, switch.by, switch.reason, detail))
        for held in held_breakers(route, now=now):
            what = "Sends it nothing" if held.state == "open" else "Sends it requests whatever its failures"
            name, detail = target_text(held.target), f"forced {held.state} from route {route.name}"
            found.append(Override("breaker", name, what, url, held.at, held.until, held.by, held.reason, detail))
        level = resilience(route).level
        if level != "full":
            found.append(Override("level", route.name, f"Degrades route {route.name} to {level}", url, detail="its own config says so"))
    return found
