"""Self-service of keys for the gallery: templates, requests in every state, secrets that wait, a key with two secrets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

STATES = ("open", "approved", "rejected", "withdrawn")


def keys_seed(organisation: object, names: list[str], *, by: str) -> None:
    """A request for each name, by the person of that address, of the organisation's first team; and one of each other thing."""
    from apps.accounts.models import User
    from apps.keys import wishes
    from apps.keys.models import KeyDigest, KeyHandover, KeyRequest, KeyTemplate, VirtualKey
    from apps.ownership.models import Team

    person, now = User.objects.get(email=by), datetime.now(UTC)
    team = Team.objects.filter(organisation=organisation).order_by("name").first()
    if team is None:
        team = Team.objects.create(organisation=organisation, name=names[0][:200], slug="of-keys")
    limits = {"requests_per_minute": 600, "tokens_per_day": 5_000_000}
    KeyTemplate.objects.get_or_create(
        team=team,
        defaults={"environments": ["development", "staging"], "longest_days": 90, "limits": limits, "budget_nano": 25 * 10**9},
    )
    wish = wishes.Wish(
        name="", addresses=("192.0.2.0/24", "2001:db8::/32"), limits=limits, budget_nano=10**11, expires_at=now + timedelta(days=400)
    )
    for at, name in enumerate(names):
        state = STATES[at % len(STATES)]
        decided = state != "open"
        KeyRequest.objects.create(
            organisation=organisation, team=team, name=name[:80], facts=wishes.as_json(wish), reason=name * 3,
            outside=["the environment production: the template has development, staging", "it lives longer than 90 days"],
            requester_id=str(person.pk), requester_email=by, state=state, decided_by="max@example.test" if decided else "",
            decided_at=now if decided else None, answer=name if decided else "",
        )  # fmt: skip
    request = KeyRequest.objects.filter(organisation=organisation, state="approved").first() or KeyRequest.objects.first()
    KeyHandover.objects.create(
        organisation=organisation, person_id=str(person.pk), request=request, count=1, sealed="x", expires_at=now + timedelta(days=6)
    )
    key = VirtualKey.objects.filter(organisation=organisation).order_by("name").first()
    if key is not None:
        VirtualKey.objects.filter(pk=key.pk).update(addresses=["192.0.2.0/24", "2001:db8::/32"])
        for kind, expires_at in (("new", None), ("old", now + timedelta(days=3))):
            KeyDigest.objects.create(digest=sha256(f"{kind} {key.pk}".encode()).hexdigest(), key=key, expires_at=expires_at)
