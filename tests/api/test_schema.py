"""The API describes itself whole, and there is a page of it."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver

from apps.accounts.models import User
from controlplane.api_schema import operations, schema
from tests.api.conftest import Caller, failure

UNTOLD = {"schema", "nothing"}


def names(patterns: list[Any], inside: bool = False) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            found |= names(pattern.url_patterns, inside or pattern.namespace == "api")
        elif isinstance(pattern, URLPattern) and inside:
            found.add(str(pattern.name))
    return found


def test_every_address_is_told_with_its_fields() -> None:
    document = schema()
    assert len(document["paths"]) == len(names(get_resolver().url_patterns) - UNTOLD)
    for group, rows in operations(document).items():
        for row in rows:
            assert row.text, (group, row.method, row.path)
            assert row.answer or row.answer_like or row.method == "delete" or row.path.endswith(("usage/", "export/")), (
                row.method,
                row.path,
            )
            if row.method in ("put", "patch"):
                assert {"If-Match", "Idempotency-Key"} <= {field.name for field in row.parameters}
                assert row.body or row.body_like, (row.method, row.path)
    assert all("default" in told["responses"] for methods in document["paths"].values() for told in methods.values())


def test_no_secret_is_in_any_answer_but_of_what_was_just_made() -> None:
    for rows in operations(schema()).values():
        for row in rows:
            told = {field.name for field in row.answer}
            assert "value" not in told or row.path.endswith("spend/") or "/alerts/" in row.path, row
            assert "secret" not in told or (row.method == "post" and ("/keys/" in row.path or row.path.endswith("/secret/"))), row


def test_programs_get_openapi_and_people_a_page(admin: Caller, ada: User) -> None:
    document = admin.get("schema/").json()
    assert document["openapi"].startswith("3.") and "personalToken" in document["components"]["securitySchemes"]
    failure(Caller().get("schema/"), 401, "not_authenticated")
    client = Client()
    client.force_login(ada)
    page = client.get("/settings/api/").content.decode()
    assert 'id="routes"' in page and "/api/v1/organisations/{organisation}/flags/{flag_id}/flip/" in page
    assert "<script src=" not in page.replace('nonce="', "") or "cdn" not in page
    assert len(page) < 600_000 and "Idempotency-Key, as above" in page
    assert Client().get("/settings/api/")["Location"].startswith("/login/")
