"""Fills the database of ``DATABASE_URL`` with what a proxy that runs already knows: ``python -m tests.browser.playground_seed URL``."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

ORGANISATION, KEY, NARROW = (f"01990000-0000-7000-8000-00000000000{at}" for at in (1, 2, 3))
"""Ids that the proxy's config and the database share: the organisation, a key for everything, and one for the route ``breaks``."""


def seed(proxy_url: str) -> None:
    from django.utils import timezone

    from apps.accounts.models import Membership, Organisation, User
    from apps.contracts.identifiers import uuid7
    from apps.keys.models import VirtualKey
    from apps.publishing.models import ProxyProcess
    from tests.browser.seed import EMAIL, PASSWORD

    user = User(email=EMAIL, name="Ada Lovelace")
    user.set_password(PASSWORD)
    user.save()
    made = Organisation.objects.create(id=ORGANISATION, name="Main", slug="main", simulated=True)
    Membership.objects.create(user=user, organisation=made, role="admin")
    for id, name in ((KEY, "app"), (NARROW, "narrow")):
        VirtualKey.objects.create(id=id, organisation=made, name=name, public_id=name)
    now = timezone.now()
    ProxyProcess.objects.create(
        boot_id=uuid7(), name="proxy-1", host="h", pid=1, public_url=proxy_url, admin_url="", state="ready", detail={}, version=1,
        acked_at=now, registered_at=now, last_seen_at=now + timedelta(days=1),
    )  # fmt: skip


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()
    seed(sys.argv[1])
