"""``on-call`` of an organisation: who is there now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.api.errors import ApiError
from apps.accounts.api.views import ApiView
from apps.ownership.named import team_named
from apps.ownership.rotation_selectors import on_call_now


class OnCallSerializer(serializers.Serializer[Any]):
    """One rotation at one moment."""

    rotation = serializers.CharField(source="rotation.name")
    team = serializers.CharField(source="rotation.team.slug", allow_null=True)
    person = serializers.EmailField(source="user.email", allow_null=True, help_text="null: a gap, or hours that it does not cover.")
    covered = serializers.BooleanField(help_text="false: hours that it does not cover.")
    stands_in = serializers.BooleanField(help_text="By an override.")
    until = serializers.DateTimeField(allow_null=True, help_text="null: until somebody changes it.")
    next_person = serializers.EmailField(source="next_user.email", allow_null=True)
    next_at = serializers.DateTimeField(allow_null=True)


class OnCallView(ApiView):
    """Who is on call in each rotation, now or ``?at=`` another moment; of one ``?team=``."""

    permission = "ownership.view"

    @extend_schema(parameters=[OpenApiParameter("team", str), OpenApiParameter("at", datetime)], responses=OnCallSerializer(many=True))
    def get(self, request: Any, organisation: str) -> Response:
        slug, text = request.query_params.get("team", ""), request.query_params.get("at", "")
        team = team_named(self.organisation, slug) if slug else None
        found = on_call_now(organisation=self.organisation, team=team, at=_moment(text) if text else None)
        items = [
            {
                "rotation": row.rotation.name,
                "team": row.rotation.team.slug if row.rotation.team else None,
                "person": row.user.email if row.user else None,
                "covered": row.covered,
                "stands_in": row.stands_in,
                "until": row.until,
                "next_person": row.next_user.email if row.next_user else None,
                "next_at": row.next_at,
            }
            for row in found
        ]
        return Response({"items": items, "next": None, "previous": None})


def _moment(text: str) -> datetime:
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ApiError("Write a moment with its zone, such as 2026-01-31T09:00:00Z.", field="at")
    return found
