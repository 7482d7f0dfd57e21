"""Fills the database of ``DATABASE_URL`` with lists as long as they get: ``python -m tests.browser.gallery_seed [ROWS]``, after ``seed``.

Organisation ``a-lot`` gets that many routes, keys and providers (10,000 without ROWS), ``a-little`` two prices and budgets; ``naughty``
gets odd strings and names of 300 characters, or as many as the column takes. All but ``nothing`` get prices, limits and budgets.
Written straight into the tables: what services refuse may still stand in a database.
"""

from __future__ import annotations

import json
import os
import sys

from django.db import transaction


@transaction.atomic
def seed(rows: int) -> None:
    from apps.accounts.models import Membership, Organisation, User
    from apps.contracts.identifiers import uuid7
    from apps.keys.models import VirtualKey
    from apps.providers.models import Endpoint, Provider
    from apps.routes.models import Route, RouteTarget
    from apps.usage.counting import spend_count
    from tests.browser.gallery_alerts import alerts_seed
    from tests.browser.gallery_changes import changes_seed
    from tests.browser.gallery_costs import costs_seed
    from tests.browser.gallery_documents import documents_seed
    from tests.browser.gallery_fleet import fleet_seed
    from tests.browser.gallery_incidents import incidents_seed
    from tests.browser.gallery_kept import kept_seed, people_seed, sizes_seed
    from tests.browser.gallery_keys import keys_seed
    from tests.browser.gallery_learning import learning_seed
    from tests.browser.gallery_models import models_seed
    from tests.browser.gallery_money import money_seed
    from tests.browser.gallery_ownership import ownership_seed
    from tests.browser.seed import EMAIL, NAUGHTY, shows

    main, _ = Organisation.objects.get_or_create(slug="main", defaults={"name": "Main"})  # whose admins see the installation's pages
    Membership.objects.get_or_create(user=User.objects.get(email=EMAIL), organisation=main, defaults={"role": "admin"})
    lot = Organisation.objects.get(slug="a-lot")
    providers = Provider.objects.bulk_create(
        (Provider(organisation=lot, name=f"provider-{at:05}", kind="openai", simulated=True) for at in range(rows)), batch_size=1000
    )
    Endpoint.objects.bulk_create(
        (Endpoint(provider=one, name="main", position=0, base_url=f"https://{one.name}.example.test/v1") for one in providers),
        batch_size=1000,
    )
    routes = Route.objects.bulk_create((Route(organisation=lot, name=f"route-{at:05}") for at in range(rows)), batch_size=1000)
    RouteTarget.objects.bulk_create(
        (
            RouteTarget(route=route, provider=providers[at], model="sim-model", chain="primary", position=0)
            for at, route in enumerate(routes)
        ),
        batch_size=1000,
    )
    VirtualKey.objects.bulk_create(
        (VirtualKey(organisation=lot, name=f"key-{at:05}", public_id=uuid7().hex[-16:]) for at in range(rows)), batch_size=1000
    )
    odd = Organisation.objects.get(slug="naughty")
    strings = [text.replace("\x00", "") for text in json.loads(NAUGHTY.read_text())] if NAUGHTY.is_file() else []
    odd_names = list(dict.fromkeys(["W" * 300, "ﷺ" * 300, "many words " * 27, *(text for text in strings if shows(text))]))
    for text in odd_names:
        most = {model: model._meta.get_field("name").max_length or 300 for model in (Provider, Route, VirtualKey)}
        provider = Provider.objects.filter(organisation=odd, name=text[: most[Provider]]).first() or Provider.objects.create(
            organisation=odd, name=text[: most[Provider]], kind="openai", simulated=True
        )
        Endpoint.objects.get_or_create(provider=provider, name="main", defaults={"base_url": "https://odd.example.test/v1", "position": 0})
        route, made = Route.objects.get_or_create(organisation=odd, name=text[: most[Route]])
        if made:
            RouteTarget.objects.create(route=route, provider=provider, model=text[:200], chain="primary", position=0)
        if not VirtualKey.objects.filter(organisation=odd, name=text[: most[VirtualKey]]).exists():
            VirtualKey.objects.create(organisation=odd, name=text[: most[VirtualKey]], public_id=uuid7().hex[-16:])
    money_seed(odd, _distinct(odd_names), approver=EMAIL)
    money_seed(lot, [f"model-{at:04}" for at in range(min(rows, 300))], approver=EMAIL)
    money_seed(Organisation.objects.get(slug="a-little"), ["gpt-4o-mini", "claude-haiku"], approver=EMAIL)
    models_seed(odd, _distinct(odd_names))
    models_seed(lot, [f"model-{at:04}" for at in range(min(rows, 300))])
    models_seed(Organisation.objects.get(slug="a-little"), ["gpt-4o-mini", "claude-haiku"])
    changes_seed(odd, _distinct(odd_names)[:60], by=EMAIL)
    changes_seed(lot, [f"flag-{at:03}" for at in range(60)], by=EMAIL)
    changes_seed(Organisation.objects.get(slug="a-little"), ["new-answers", "east-is-down"], by=EMAIL)
    ownership_seed(odd, _distinct(odd_names)[:60], by=EMAIL)
    ownership_seed(lot, [f"Team {at:03}" for at in range(60)], by=EMAIL)
    ownership_seed(Organisation.objects.get(slug="a-little"), ["Payments", "Search"], by=EMAIL)
    fleet_seed(odd, _distinct(odd_names)[:40], _distinct(odd_names)[:40], workers=14, gpus=2, deployments=10, replicas=14)
    hosts = [f"gpu-{rack}{unit:02}" for rack in "abcdef" for unit in range(1, 9)]
    fleet_seed(lot, ["chat-8b", "code-32b", "embed", "vision-72b"], hosts, workers=46, gpus=8, deployments=24, replicas=100)
    little = Organisation.objects.get(slug="a-little")
    fleet_seed(little, ["chat", "summaries"], ["desk", "closet"], workers=2, gpus=1, deployments=2, replicas=2)
    alerts_seed(odd, _distinct(odd_names)[:60], by=EMAIL)
    alerts_seed(lot, [f"Rule {at:03}" for at in range(60)], by=EMAIL)
    alerts_seed(Organisation.objects.get(slug="a-little"), ["Chat fails", "Search is slow"], by=EMAIL)
    incidents_seed(odd, _distinct(odd_names)[:60], by=EMAIL)
    learning_seed(odd, _distinct(odd_names)[:60], by=EMAIL)
    incidents_seed(lot, [f"Chat answers with errors, wave {at:03}" for at in range(60)], by=EMAIL)
    learning_seed(lot, [f"Chat answers with errors, wave {at:03}" for at in range(60)], by=EMAIL)
    incidents_seed(Organisation.objects.get(slug="a-little"), ["Chat answers with errors", "Search is slow"], by=EMAIL)
    learning_seed(Organisation.objects.get(slug="a-little"), ["Chat answers with errors", "Search is slow"], by=EMAIL)
    for slug, document in (("naughty", "W" * 120 + ".yaml"), ("a-lot", "bulkhead.yaml"), ("a-little", "little.yaml")):
        documents_seed(Organisation.objects.get(slug=slug), document, by=EMAIL)
    keys_seed(odd, _distinct(odd_names)[:60], by=EMAIL)
    keys_seed(lot, [f"wished-{at:03}" for at in range(60)], by=EMAIL)
    keys_seed(Organisation.objects.get(slug="a-little"), ["nightly-index"], by=EMAIL)
    costs_seed(odd, _distinct(odd_names), owner=EMAIL)
    costs_seed(lot, [f"provider-{at:03}" for at in range(60)], owner=EMAIL)
    costs_seed(Organisation.objects.get(slug="a-little"), ["openai", "anthropic"], owner=EMAIL)
    kept_seed(odd, _distinct(odd_names)[:60], by=EMAIL)
    kept_seed(lot, [f"View {at:03}" for at in range(60)], by=EMAIL)
    kept_seed(Organisation.objects.get(slug="a-little"), ["Chat today", "What failed"], by=EMAIL)
    people_seed([*(f"Person {at:02}" for at in range(20)), *_distinct(odd_names)[:40]], by=EMAIL)
    sizes_seed(min(rows, 40))
    spend_count(retention_days=2, seconds=60)  # pages of spend and the daily review read what the task counts


def _distinct(names: list[str]) -> list[str]:
    """Those that still differ where a column cuts them to 80 characters."""
    return list({name[:80]: name for name in reversed(names)}.values())[::-1]


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()
    seed(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
