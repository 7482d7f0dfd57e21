"""Four colleagues, and what they do together: a flag that takes two persons, and a first key, once for every look of the journeys."""

from __future__ import annotations

SLUG = "together"
COLLEAGUES = {"ona": "on-call", "mia": "manager", "vic": "viewer"}
"""Who asks, who approves, and who may only look: ``<name>@example.test``, with the password of everybody in the seed."""
LOOKS = ((390, "dark"), (390, "light"), (1440, "dark"), (1440, "light"))


def email_of(name: str) -> str:
    return f"{name}@example.test"


def flag_of(width: int, scheme: str) -> str:
    return f"limit-answers-{width}-{scheme}"


def journeys_seed(*, password_hash: str) -> None:
    """The organisation ``together``. password_hash: as Django keeps it, of the password that all of them have."""
    from apps.accounts.models import Membership, Organisation, User
    from apps.audit.actors import Actor
    from apps.flags.services import flag_set
    from apps.flags.two_person_rules import two_person_rule_add
    from apps.providers.rules import EndpointSpec
    from apps.providers.services import provider_ensure
    from apps.routes.rules import TargetSpec
    from apps.routes.services import route_ensure

    actor = Actor.command("seed")
    made = Organisation.objects.create(name="Together", slug=SLUG, simulated=True)
    for name, role in COLLEAGUES.items():
        user = User.objects.create(email=email_of(name), name=name.title(), password=password_hash)
        Membership.objects.create(user=user, organisation=made, role=role)
    endpoint = EndpointSpec(name="main", base_url="https://sim-north.example.test/v1")
    provider_ensure(actor=actor, organisation=made, name="sim-north", kind="openai", endpoints=[endpoint], simulated=True)
    route_ensure(actor=actor, organisation=made, name="answers", targets=[TargetSpec("sim-north", "sim-model")])
    two_person_rule_add(actor=actor, organisation=made, kind="degrade", turning="on", reason="everybody feels it")
    for width, scheme in LOOKS:
        flag_set(
            actor=actor, organisation=made, name=flag_of(width, scheme), kind="degrade", subject_kind="organisation", subject_id=made.pk,
            level="limited", purpose="Shorter answers for everybody",
        )  # fmt: skip
