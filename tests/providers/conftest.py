"""People and an organisation for the tests of providers and their pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import Organisation, User
from apps.audit.actors import Actor
from apps.providers.models import Provider
from apps.providers.rules import EndpointSpec
from apps.providers.services import credential_set, provider_ensure
from tests.people import member

SECRET = "sk-live-0123456789abcdefWXYZ"


@pytest.fixture
def admin(organisation: Organisation) -> User:
    return member(organisation, email="ada@example.test")


@pytest.fixture
def viewer(organisation: Organisation) -> User:
    return member(organisation, "viewer", email="vic@example.test")


@pytest.fixture
def signed(client: Client, admin: User) -> Client:
    client.force_login(admin)
    return client


@pytest.fixture
def openai(organisation: Organisation, actor: Actor) -> Provider:
    """A provider with a credential that was typed."""
    credential_set(actor=actor, organisation=organisation, name="openai", value=SECRET)
    endpoint = EndpointSpec("default", "https://api.openai.com/v1", credential="openai", region="us")
    return provider_ensure(actor=actor, organisation=organisation, name="openai", kind="openai", endpoints=[endpoint])


Post = Callable[..., Any]


def form_of(response: Any) -> dict[str, Any]:
    """What a browser would send back of the form on a page: its values as drawn, hidden ones too."""
    form, context = response.context["form"], response.context
    data: dict[str, Any] = {name: context[name] for name in ("revision", "submission", "reviewed")}
    for bound in form:
        value = bound.value()
        if bound.widget_type == "checkbox":
            if value:
                data[bound.name] = "on"
        elif value is not None:
            data[bound.name] = bound.field.prepare_value(value)
    return data


def review_and_publish(client: Client, url: str, reason: str = "", **changes: Any) -> Any:
    """Fill in the form of a page, review it, publish it; the answer of the publishing."""
    data = {**form_of(client.get(url)), **changes}
    data = {name: value for name, value in data.items() if value is not None}
    reviewed = client.post(url, data)
    assert reviewed.status_code == 200, reviewed.context and reviewed.context["form"].errors
    data |= {"reviewed": reviewed.context["reviewed"], "reason": reason, "publish": "1"}
    return client.post(url, data)
