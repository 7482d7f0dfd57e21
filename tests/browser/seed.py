"""Fills the database of ``DATABASE_URL`` with what the browser tests look at: nothing, a little, a lot, and odd names.

Run as ``python -m tests.browser.seed``; prints the sign-in as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

EMAIL, PASSWORD = "ada@example.test", "a long password for tests 1815"
NAUGHTY = Path(__file__).resolve().parents[2] / ".." / "shared" / "material" / "vectors" / "blns" / "blns.json"


def shows(name: str) -> bool:
    """Whether anything of a name can be seen: one of blanks alone is refused everywhere, and a link to it could not be read."""
    return any(sign.isprintable() and not sign.isspace() for sign in name)


def seed(*, requests: int) -> None:
    from apps.accounts.models import Membership, Organisation, User
    from apps.audit.actors import Actor
    from apps.budgets.models import Budget, BudgetWindow
    from apps.contracts.identifiers import uuid7
    from apps.flags.services import flag_set
    from apps.keys.models import VirtualKey
    from apps.providers.rules import EndpointSpec
    from apps.providers.services import provider_ensure
    from apps.publishing.models import ProxyProcess, Version
    from apps.routes.models import Route
    from apps.routes.rules import TargetSpec
    from apps.routes.services import route_ensure
    from apps.settlement.models import SettlementJournal
    from tests.browser.budgets_seed import budgets_seed
    from tests.browser.journeys_seed import journeys_seed
    from tests.dashboard.generate import usage_generate

    now = datetime.now(UTC)
    user = User(email=EMAIL, name="Ada Lovelace")
    user.set_password(PASSWORD)
    user.save()
    organisations = {}
    for slug, name in (("a-lot", "A lot"), ("a-little", "A little"), ("nothing", "Nothing"), ("naughty", "Naughty")):
        organisations[slug] = Organisation.objects.create(name=name, slug=slug, simulated=slug != "nothing")
        Membership.objects.create(user=user, organisation=organisations[slug], role="admin")

    def keys(organisation: Organisation, *names: str) -> list[str]:
        made = [VirtualKey(organisation=organisation, name=name, public_id=uuid7().hex[-16:]) for name in names]
        VirtualKey.objects.bulk_create(made)
        return [str(key.pk) for key in made]

    lot = organisations["a-lot"]
    usage_generate(organisation=lot, count=requests, over=timedelta(minutes=58), keys=keys(lot, "checkout", "search-backend", "batch"))
    little = organisations["a-little"]
    usage_generate(organisation=little, count=3, over=timedelta(minutes=4), keys=keys(little, "demo"), routes=("demo-chat",))
    actor = Actor.command("seed")
    for name in ("sim-east", "sim-west"):
        endpoint = EndpointSpec(name="main", base_url=f"https://{name}.example.test/v1")
        provider_ensure(actor=actor, organisation=little, name=name, kind="openai", endpoints=[endpoint], simulated=True)
    targets = [TargetSpec("sim-east", "sim-model"), TargetSpec("sim-west", "sim-model")]
    route_ensure(actor=actor, organisation=little, name="demo-chat", targets=targets)
    west = little.providers.get(name="sim-west")
    flag_set(actor=actor, organisation=little, name="stop-sim-west", kind="kill", subject_kind="provider", subject_id=west.pk)
    if NAUGHTY.is_file():
        odd = organisations["naughty"]
        strings = [text.replace("\x00", "") for text in json.loads(NAUGHTY.read_text()) if shows(text)]
        ids = keys(odd, *(f"{text[:70]} {at}" for at, text in enumerate(strings)))
        Route.objects.bulk_create(
            Route(organisation=odd, name=name) for name in dict.fromkeys(text[:120] for text in strings) if shows(name)
        )
        usage_generate(organisation=odd, count=len(strings) * 2, over=timedelta(minutes=30), routes=strings, providers=strings, keys=ids)

    Version.objects.bulk_create(
        Version(number=number, actor_kind="command", actor_id="apply", actor_name="apply", reason="first config")
        for number in range(1, 183)
    )
    for at, (name, state, version, ago, lag) in enumerate(
        (
            ("proxy-1", "ready", 182, 1, 240),
            ("proxy-2", "ready", 182, 1, 310),
            ("proxy-3", "unready", 182, 2, 14_000),
            ("proxy-4", "ready", 181, 3_000, 90),
        )
    ):
        boot = uuid7()
        ProxyProcess.objects.create(
            boot_id=boot, name=name, host="host-a", pid=4_000 + at, public_url="http://127.0.0.1:8080", admin_url="http://127.0.0.1:9090",
            state=state, detail={"reasons": ["journal is 97% full: is the shipper running?"]} if state == "unready" else {},
            version=version, acked_at=now, registered_at=now - timedelta(hours=5),
            last_seen_at=now - timedelta(seconds=ago) + (timedelta(days=1) if ago < 10 else timedelta(0)),
        )  # fmt: skip
        SettlementJournal.objects.create(
            boot_id=boot, name=name, host="host-a", segment=3, offset=0, first_segment=3, records=2_500 * (at + 1), lag_ms=lag,
            started_at=now, updated_at=now,
        )  # fmt: skip
    for name, limit, spent, leased, overrun in (
        ("Whole company", 250, 61, 12, 0), ("Checkout", 20, 19, 1, 0), ("Experiments", 5, 5, 0, 0), ("Batch", 10, 10, 0, 1),
    ):  # fmt: skip
        budget = Budget.objects.create(
            organisation=lot, name=name, scope="organisation" if limit == 250 else "key", window="day", limit_nano=limit * 10**9,
            key=None if limit == 250 else VirtualKey.objects.filter(organisation=lot).first(),
        )  # fmt: skip
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        BudgetWindow.objects.create(
            budget=budget, starts_at=midnight, ends_at=midnight + timedelta(days=1), limit_nano=limit * 10**9, ceiling_nano=limit * 10**9,
            spent_nano=spent * 10**9, leased_nano=leased * 10**9, overrun_nano=overrun * 10**9,
        )  # fmt: skip
    walled = Organisation.objects.create(name="Walled", slug="walled")
    Membership.objects.create(user=user, organisation=walled, role="admin")
    budgets_seed(walled, approver=EMAIL)
    journeys_seed(password_hash=user.password)


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()
    seed(requests=int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    print(json.dumps({"email": EMAIL, "password": PASSWORD}))
