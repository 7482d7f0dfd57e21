"""A request's page says what was billed beside tokens."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.accounts.models import Organisation, User
from apps.usage.models import UsageRequest
from tests.dashboard.generate import usage_generate

pytestmark = pytest.mark.django_db


def test_what_was_metered_is_shown(client: Client, person: User, organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=1)
    row = UsageRequest.objects.get()
    counts = {"input": 3, "output": 0, "cache_read": 0, "cache_write": 0, "reasoning": 0, "details": {"meters": {"image:hd:1024x1024": 2}}}
    facts = {"provider": "p", "endpoint": "e", "model": "dall-e-3", "region": "", "outcome": "ok", "status": 200, "error_code": ""}
    facts |= {"sent_us": 1, "first_byte_us": 2, "ended_us": 3, "cost_nano": 5, "price_version": "units+u1", "estimated": False}
    attempt = {**facts, "tokens": counts, "charges": [], "simulated": False, "upstream_request_id": "", "role": "first"}
    UsageRequest.objects.update(attempts=[attempt], attempt_count=1)
    client.force_login(person)
    text = client.get(f"/requests/{row.id}/").content.decode()
    assert "2 image:hd:1024x1024" in text and "units+u1" in text
