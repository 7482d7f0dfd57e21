"""Fills the database of ``DATABASE_URL`` with an installation to govern: versions of a config, proxies, people, an audit trail."""

from __future__ import annotations

import os

from tests.browser.seed import EMAIL, PASSWORD


def seed() -> None:
    from apps.accounts.models import User
    from apps.accounts.services import user_create
    from apps.audit.actors import Actor
    from apps.publishing.services import publish
    from apps.routes.models import Route
    from apps.routes.services import route_update
    from tests.publishing.installation import ACTOR, installation_make, proxy_make, route_make

    main = installation_make()
    ada = User.objects.get(email=EMAIL)
    ada.set_password(PASSWORD)
    ada.save()
    for attempts in (4, 5):
        route_update(actor=ACTOR, route=Route.objects.get(name="chat"), max_attempts=attempts)
        publish(actor=Actor.command("apply"), reason=f"Try {attempts} times: <b>sim</b> was slow " + "x" * 120)
    route_make(main, "a-route-with-a-name-as-long-as-names-may-be-" + "n" * 70)
    publish(actor=Actor.command("=cmd()"), reason="")
    for at, name in enumerate(("Ω" * 190, "<script>alert(1)</script>", "")):
        user_create(actor=ACTOR, email=f"person-{at}-{'y' * 24 * at}@example.test", password=PASSWORD, name=name)
    for name, version in (("proxy-1", 4), ("proxy-2", 3)):
        proxy_make(name, version)


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()
    seed()
