"""Every page of providers: empty, with traffic, for the wrong person, with hostile and long names, in bulk; its queries are committed."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import Membership, Organisation, User
from apps.audit.actors import Actor
from apps.providers import prices
from apps.providers.checks import CheckResult, check_record
from apps.providers.models import Credential, Endpoint, Price, Provider, ProviderCheck, ProviderModel
from apps.providers.rules import PriceSpec
from apps.ui import tables
from apps.ui.format import compact
from tests.dashboard.generate import usage_generate
from tests.providers.conftest import SECRET
from tests.scale import MANY

COUNTS = json.loads(Path(__file__).with_name("query_counts.json").read_text())
HOSTILE = "\"><script>alert(1)</script>{{7*7}}\u202e=cmd|'/c calc'!A0"


def urls_of(provider: Provider) -> dict[str, str]:
    model = ProviderModel.objects.filter(provider=provider).first()
    credential = Credential.objects.filter(organisation=provider.organisation).first()
    own = f"/providers/{provider.pk}"
    return {
        "list": "/providers/",
        "detail": f"{own}/",
        "models": f"{own}/models/",
        "history": f"{own}/history/",
        "credentials": "/providers/credentials/",
        "create": "/providers/new/",
        "edit": f"{own}/edit/",
        "connect": "/providers/connect/",
        "price_add": f"{own}/models/new/",
        "credential_add": "/providers/credentials/new/",
        **({"price": f"{own}/models/{model.pk}/price/"} if model else {}),
        **({"credential_rotate": f"/providers/credentials/{credential.pk}/rotate/"} if credential else {}),
    }


def test_the_list_without_any_provider_offers_to_connect_one(signed: Client) -> None:
    text = signed.get("/providers/").content.decode()
    assert "No provider yet" in text and "/providers/connect/" in text


def test_every_page_stands_and_asks_no_more_queries_than_committed(signed: Client, openai: Provider, actor: Actor) -> None:
    """A rise is either a mistake, or it is committed: write the number into query_counts.json. Twelve is the ceiling for all."""
    prices.model_ensure(actor=actor, provider=openai, name="gpt-4o-mini")
    usage_generate(organisation=openai.organisation, count=300, simulated=False, providers=("openai", "first-choice"))
    check_record(endpoint=openai.endpoints.get(), result=CheckResult("up", 200, 81_000, "HTTP 200"))
    for name, url in urls_of(openai).items():
        assert signed.get(url).status_code == 200, url
        with CaptureQueriesContext(connection) as queries:
            response = signed.get(url)
        assert response.status_code == 200
        assert len(queries) <= COUNTS[name] <= 12, (f"{name}: {len(queries)}", "\n".join(query["sql"][:300] for query in queries))


def test_queries_do_not_grow_with_providers_endpoints_or_models(signed: Client, openai: Provider, actor: Actor) -> None:
    organisation = openai.organisation
    made = Provider.objects.bulk_create(Provider(organisation=organisation, name=f"p-{n:03}", kind="openai") for n in range(70))
    Endpoint.objects.bulk_create(Endpoint(provider=row, position=0, name="default", base_url="https://h/v1") for row in made)
    models = ProviderModel.objects.bulk_create(ProviderModel(provider=openai, name=f"m-{n:03}") for n in range(70))
    Price.objects.bulk_create(Price(model=row, version="manual:1", source="manual", input=1, output=2) for row in models)
    usage_generate(organisation=organisation, count=100, simulated=False, providers=("openai", "p-001"))
    urls = urls_of(openai)
    for name in ("list", "models", "detail"):
        with CaptureQueriesContext(connection) as queries:
            signed.get(f"{urls[name]}?sort=-requests")
        assert len(queries) <= 12, name


def test_signed_out_people_are_sent_to_sign_in_and_others_see_nothing(client: Client, openai: Provider) -> None:
    urls = urls_of(openai)
    for url in urls.values():
        assert client.get(url).status_code == 302
    stranger = User.objects.create(email="sam@example.test")
    other = Organisation.objects.create(slug="other-tests", name="Other")
    Membership.objects.create(user=stranger, organisation=other, role="admin")
    client.force_login(stranger)
    for name in ("detail", "models", "history", "edit", "price_add", "credential_rotate"):
        assert client.get(urls[name]).status_code == 404, name
    assert "openai" not in client.get(urls["list"]).content.decode().partition("<main")[2]
    assert SECRET[-4:] not in client.get(urls["credentials"]).content.decode()


def test_a_viewer_reads_and_cannot_write(client: Client, viewer: User, openai: Provider) -> None:
    client.force_login(viewer)
    urls = urls_of(openai)
    for name in ("list", "detail", "models", "history", "credentials"):
        text = client.get(urls[name]).content.decode()
        assert "providers/connect/" not in text.partition("<main")[2] and "Rotate" not in text and 'data-opens="remove"' not in text
    for name in ("create", "edit", "connect", "price_add", "credential_add", "credential_rotate"):
        assert client.get(urls[name]).status_code == 403, name
        assert client.post(urls[name]).status_code == 403, name
    for name in ("disable", "enable", "remove", "check"):
        assert client.post(f"{urls['detail']}{name}/", {"reason": "x"}).status_code == 403, name
    assert "The audit is for admins" in client.get(urls["history"]).content.decode()


def test_reading_pages_refuse_to_be_written_to(signed: Client, openai: Provider) -> None:
    urls = urls_of(openai)
    for name in ("list", "detail", "models", "history", "credentials"):
        assert signed.post(urls[name]).status_code == 405
    for name in ("disable", "enable", "remove", "check"):
        assert signed.get(f"{urls['detail']}{name}/").status_code == 405


def test_the_state_follows_checks_traffic_and_age(signed: Client, openai: Provider) -> None:
    def state() -> str:
        return signed.get("/providers/").content.decode().partition("<tbody>")[2].partition("</td>")[0]

    assert "Not checked yet" in state()
    endpoint = openai.endpoints.get()
    for result, word in ((CheckResult("up", 200, 9, ""), "Healthy"), (CheckResult("refused", 401, 9, ""), "Credential refused")):
        check_record(endpoint=endpoint, result=result)
        assert word in state()
    check_record(endpoint=endpoint, result=CheckResult("up", 200, 9, ""))
    ProviderCheck.objects.update(checked_at=timezone.now() - timedelta(hours=1))
    assert "Not heard lately" in state()
    openai.enabled = False
    openai.save()
    assert "Disabled" in state()


def test_no_page_shows_a_secret(signed: Client, openai: Provider) -> None:
    for url in urls_of(openai).values():
        text = signed.get(url).content.decode()
        assert SECRET not in text and SECRET[:12] not in text
    assert f"…{SECRET[-4:]}" in signed.get("/providers/credentials/").content.decode()


def test_hostile_and_long_names_are_text(signed: Client, openai: Provider) -> None:
    Provider.objects.filter(pk=openai.pk).update(name=HOSTILE[:80])
    Endpoint.objects.filter(provider=openai).update(region=HOSTILE[:80], name="e" * 80)
    ProviderModel.objects.create(provider=openai, name=HOSTILE + "m" * 100)
    Credential.objects.update(name=HOSTILE[:80], source="env:" + "S" * 300)
    for url in urls_of(openai).values():
        text = signed.get(url).content.decode()
        assert "<script>alert" not in text and "49" not in text.partition("alert(1)")[2][:60]
    for url in ("/providers/?format=csv", f"/providers/{openai.pk}/models/?format=csv", "/providers/credentials/?format=csv"):
        lines = b"".join(signed.get(url).streaming_content).decode().splitlines()
        assert len(lines) == 2 and not any(cell.startswith(("=", "+", "@")) for cell in lines[1].split(","))


@pytest.mark.parametrize("name", ["a" * 300, HOSTILE, "Ünïcode", "", "  ", "UPPER", "../etc", "a b", "\x00"])
def test_names_that_are_none_are_refused_beside_their_field(signed: Client, name: str) -> None:
    data = {
        "name": name, "kind": "openai", "price_list": "", "endpoint_count": "1", "endpoints[0].name": "default",
        "endpoints[0].base_url": "https://api.example.com/v1", "endpoints[0].max_connections": "10", "revision": "", "submission": "x",
    }  # fmt: skip
    response = signed.post("/providers/new/", data)
    assert response.status_code == 400 and "name" in response.context["form"].errors
    assert Provider.objects.count() == 0


def test_very_many_models_are_paged_searched_and_exported(signed: Client, openai: Provider) -> None:
    made = ProviderModel.objects.bulk_create(ProviderModel(provider=openai, name=f"model-{n:05}") for n in range(MANY))
    Price.objects.bulk_create(
        Price(model=row, version="manual:x", source="manual", input=n, output=2 * n) for n, row in enumerate(made) if n % 2
    )
    with connection.cursor() as cursor:  # autovacuum would, but not within this transaction: without it plans are a matter of luck
        cursor.execute(f"ANALYZE {ProviderModel._meta.db_table}, {Price._meta.db_table}")
    url = f"/providers/{openai.pk}/models/"
    text = signed.get(url).content.decode()
    assert f"of {compact(MANY)} models" in text and "model-00049" in text and "model-00050" not in text
    assert f"model-{MANY - 1:05}" in signed.get(f"{url}?page={MANY // 50}").content.decode()
    assert "model-01321" in signed.get(f"{url}?q=1321").content.decode()
    assert signed.get(f"{url}?priced=none").context["listing"].total == MANY // 2
    assert signed.get(f"{url}?priced=yours").context["listing"].total == MANY // 2
    assert sum(1 for _ in signed.get(f"{url}?format=csv").streaming_content) == MANY + 1
    assert "No models match" in signed.get(f"{url}?q=nothing-like-it").content.decode()


def test_a_price_that_will_hold_is_announced(signed: Client, openai: Provider, actor: Actor) -> None:
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    prices.price_change(actor=actor, provider=openai, model="gpt-4o-mini", price=PriceSpec(input=10**9, output=10**9, valid_from=soon))
    text = signed.get(f"/providers/{openai.pk}/models/").content.decode()
    assert f"from {soon:%Y-%m-%d}" in text and "$0.15" in text


def test_the_palette_finds_providers_that_the_person_may_see(signed: Client, openai: Provider) -> None:
    from apps.providers.palette import providers_for_palette

    user = User.objects.get(email="ada@example.test")
    assert [hit.url for hit in providers_for_palette(user, "open", 5)] == [f"/providers/{openai.pk}/?org=main"]
    assert providers_for_palette(User.objects.create(email="no@example.test"), "open", 5) == []


def test_very_many_providers_are_paged_sorted_and_searched(signed: Client, openai: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_CSV_ROWS", MANY)
    organisation = openai.organisation
    made = Provider.objects.bulk_create(Provider(organisation=organisation, name=f"p-{at:05}", kind="openai") for at in range(MANY))
    Endpoint.objects.bulk_create(Endpoint(provider=row, position=0, name="default", base_url=f"https://{row.name}/v1") for row in made)
    ProviderModel.objects.create(provider=made[1_777], name="m")
    with connection.cursor() as cursor:  # autovacuum would, but not within this transaction: without it plans are a matter of luck
        cursor.execute("ANALYZE providers_provider, providers_endpoint, providers_providercheck")
    usage_generate(organisation=organisation, count=200, simulated=False, providers=("p-00005",))

    def names(query: str) -> list[str]:
        text = signed.get(f"/providers/{query}").content.decode()
        return re.findall(r'<th scope="row" class="clip" title="([^"]+)"', text)

    assert names("?sort=-requests")[0] == "p-00005" and len(names("?sort=-requests")) == 50
    assert names("?sort=-models")[0] == "p-01777" and names("?sort=-name")[0] == f"p-{MANY - 1:05}"
    assert f"p-{MANY - 1:05}" in names(f"?page={MANY // 50 + 1}") and names("?q=01777") == ["p-01777"]
    assert len(names(f"?state=wrong&page={MANY // 50}")) == 50 and names("?state=disabled") == []
    lines = b"".join(signed.get("/providers/?sort=-models&format=csv").streaming_content).decode().splitlines()
    assert len(lines) == MANY + 1 and "p-01777" in lines[1] and "https://p-01777/v1" in lines[1]
