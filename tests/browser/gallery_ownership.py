"""Teams, a map with holes, rotations with gaps, SLAs and runbooks, for the gallery."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from django.utils import timezone
from django.utils.text import slugify

from apps.accounts.models import Organisation

TEXT = """# {title}

The provider answers with **529** or not at all.

1. Look at `Overview`: is it one region?
2. Turn on the fallback: [flags](/flags/).
3. Tell the owners:
   - [ ] payments
   - [x] search

| sign | meaning |
|---|---|
| breaker open | proxies leave it alone already |
| `credential_refused` | nobody paid the bill |

> Never force a breaker closed while it still fails.

```sh
manage.py flag on {title} --reason "provider away"
```
"""


def ownership_seed(organisation: Organisation, names: Sequence[str], *, by: str) -> None:
    """A team, a region, a rotation and a runbook for every name, in every state in turn. Names are cut to what fits."""
    from apps.accounts.models import Membership, TeamMembership, User
    from apps.ownership import choices
    from apps.ownership.models import (
        Cell,
        Contact,
        Layer,
        Region,
        Rotation,
        RotationMember,
        RotationOverride,
        Runbook,
        Service,
        Sla,
        Team,
    )

    now, user = timezone.now(), User.objects.get(email=by)
    gone, _ = User.objects.get_or_create(email=f"gone-{organisation.slug}@example.test", defaults={"name": "Gone", "is_active": False})
    layers = [
        Layer.objects.get_or_create(organisation=organisation, name=name, defaults={"title": title, "help": text, "position": at})[0]
        for at, (name, title, text) in enumerate(choices.LAYERS)
    ]
    belongs, _ = Membership.objects.get_or_create(user=user, organisation=organisation, defaults={"role": "admin"})
    for at, name in enumerate(names):
        slug = f"{slugify(name)[:40] or 'odd'}-{at}".strip("-")
        team, made = Team.objects.get_or_create(organisation=organisation, slug=slug, defaults={"name": name[:200], "contact_email": by})
        if not made:
            continue
        service = Service.objects.create(team=team, slug="app", name=name[:200])
        region, _ = Region.objects.get_or_create(organisation=organisation, name=slug[:80], defaults={"title": name[:200]})
        Cell.objects.bulk_create(Cell(region=region, layer=layer, team=team) for layer in layers[: at % 6])
        kinds = (
            ("phone", "+49 30 1234567", "at night"),
            ("chat", "#" + slug, ""),
            ("url", "https://status.example.test/" + slug, name[:80]),
        )
        Contact.objects.bulk_create(
            Contact(team=team, position=place, kind=kind, value=value, label=label) for place, (kind, value, label) in enumerate(kinds)
        )
        Sla.objects.create(team=team, availability=99_900)
        if at % 2:
            Sla.objects.create(team=team, service=service, availability=99_950, ttft_ms=800, ttft_warn_ms=900, ttft_page_ms=2000)
        if at < 4:
            TeamMembership.objects.create(membership=belongs, team_id=team.pk, team_slug=team.slug, role=("admin", "on-call")[at % 2])
        rotation = Rotation.objects.create(
            organisation=organisation, team=team if at % 4 else None, kind=choices.CHAOS if at % 4 == 0 else choices.ONCALL, name=slug,
            zone="Europe/Berlin", starts_on=date(2026, 1, 5), minute=540, every_days=(7, 1, 14)[at % 3],
            days=127 if at % 2 else 31, from_minute=0 if at % 2 else 540, to_minute=1440 if at % 2 else 1020,
        )  # fmt: skip
        people = ([user], [user, gone], [])[at % 3]
        RotationMember.objects.bulk_create(RotationMember(rotation=rotation, user=one, position=place) for place, one in enumerate(people))
        if at % 3 == 1:
            RotationOverride.objects.create(
                rotation=rotation, user=user, starts_at=now + timedelta(days=1), ends_at=now + timedelta(days=2), reason=name[:300], by=by
            )
        Runbook.objects.create(
            organisation=organisation, name=slug, title=name[:200], text=TEXT.format(title=name[:80]) + name,
            owner=team if at % 2 else None,
            reviewed_at=now - timedelta(days=60 * (at % 3)) if at % 3 else None, reviewed_by=by if at % 3 else "",
        )  # fmt: skip
