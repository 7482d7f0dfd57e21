"""Requests for keys and templates of keys in the command palette."""

from __future__ import annotations

from apps.accounts.palette_objects import Objects, objects_source
from apps.keys.models import KeyRequest, KeyTemplate

key_requests_for_palette = objects_source(
    Objects("key request", KeyRequest, "key.view", "keys:request", "inbox", ("name", "requester_email", "team__name")),
    Objects(
        "key template", KeyTemplate, "key.view", "keys:template", "keys", ("team__name", "team__slug"), argument="team_id",
        organisation="team__organisation",
    ),
)  # fmt: skip
