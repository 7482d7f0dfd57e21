"""A rule that names a team holds for flags about what the team owns, whoever owns the flag, and for a day after it was given away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone as clock
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Membership, Organisation, TeamMembership
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.flags.change_models import ChangeRequest, FlagNotice
from apps.flags.change_rules import LOOSENING, Asked, Rule, takes_two
from apps.flags.changes import flip_submit
from apps.flags.concerned import target_teams
from apps.flags.four_eyes import TwoPersonsNeeded
from apps.flags.models import Flag
from apps.flags.services import flag_set
from apps.flags.two_person_rules import two_person_rule_add
from apps.keys.services import key_create
from apps.ownership.models import Team
from apps.ownership.owned import owner_assign
from apps.ownership.services import service_ensure
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.people import member

TEAMS = st.frozensets(st.sampled_from(["a", "b", "c"]))
RULES = st.builds(
    Rule, kind=st.sampled_from(["", "kill"]), team=st.sampled_from(["", "a", "b"]), turning=st.sampled_from(["on", "off", "either"])
)


@given(own=TEAMS, target=TEAMS, rules=st.lists(RULES, max_size=4), turning=st.sampled_from(["on", "off"]))
def test_whoever_owns_the_flag_the_targets_rule_holds(own: frozenset[str], target: frozenset[str], rules: list[Rule], turning: Any) -> None:
    """No choice of the flag's owner evades a rule of the target's, and no owner is asked for more than both owners' rules say."""
    asked = Asked("kill", "provider", own | target, frozenset({"production"}), turning, simulated_only=False)
    alone = {teams: takes_two(asked._replace(teams=teams), rules) is not None for teams in (own, target)}
    assert (takes_two(asked, rules) is not None) == any(alone.values())


def given_away(organisation: Organisation, kind: str, row: Any, team: Team) -> None:
    things = [(kind, str(row.pk))]
    owner_assign(actor=Actor.command("test"), organisation=organisation, things=things, team=team, reason="they take it over")


@pytest.mark.django_db
def test_a_new_flag_under_another_team_evades_no_rule(organisation: Organisation, actor: Actor) -> None:
    search, other = (Team.objects.create(organisation=organisation, name=name.title(), slug=name) for name in ("search", "other"))
    Team.objects.filter(pk=search.pk).update(contact_email="search@example.test")
    given_: dict[str, Any] = {"actor": actor, "organisation": organisation}
    provider = provider_ensure(**given_, name="near", kind="openai", endpoints=[EndpointSpec("a", "https://near.example.com/v1")])
    free = provider_ensure(**given_, name="free", kind="openai", endpoints=[EndpointSpec("a", "https://free.example.com/v1")])
    given_away(organisation, "provider", provider, search)
    route = route_ensure(**given_, name="chat", targets=[TargetSpec("near", "m")], owner=search)
    key, _ = key_create(**given_, name="app", service=service_ensure(actor=actor, team=search, slug="web"))
    two_person_rule_add(actor=actor, organisation=organisation, team=search, turning="either")
    ona = Actor.of_user(member(organisation, "manager"))

    def made(kind: str, subject: str, subject_id: object, **more: Any) -> Flag:
        facts = {"kind": kind, "subject_kind": subject, "subject_id": str(subject_id), "owner": other, **more}
        return flag_set(actor=ona, organisation=organisation, name=f"{kind}-{subject}-{str(subject_id)[-6:]}", **facts)

    guarded = [
        made("kill", "provider", provider.pk), made("kill", "route", route.pk), made("kill", "key", key.pk),
        made("fallback", "route", route.pk), made("degrade", "route", route.pk, level="limited"),
        made("degrade", "team", "search", level="limited"),
    ]  # fmt: skip
    asked = {"actor": ona, "organisation": organisation, "on": True, "reason": "they are slow"}
    for flag in guarded:
        row = flip_submit(name=flag.name, **asked)
        assert isinstance(row, ChangeRequest) and row.state == "waiting", flag.name
        assert "where team Search owns the flag or what it is about" in row.rule
        assert "search@example.test" in FlagNotice.objects.get(about=str(row.pk)).addresses, "the team hears of it"
        with pytest.raises(TwoPersonsNeeded):  # nor does one that is made as on already
            made(flag.kind, flag.subject_kind, flag.subject_id, level=flag.level, on=True, reason="now")
    loose = made("kill", "provider", free.pk)
    assert isinstance(flip_submit(name=loose.name, **asked), Flag), "what nobody owns takes one person"

    with pytest.raises(TwoPersonsNeeded, match="is on, and"):  # what it did would be let go, and what it does be done, alone
        flag_set(
            actor=ona, organisation=organisation, name=loose.name, kind="kill", subject_kind="provider", subject_id=str(provider.pk),
            on=True, reason="they are slow", owner=other,
        )  # fmt: skip

    given_away(organisation, "route", route, other)
    kill = guarded[1]
    assert target_teams(kill) == {str(search.pk), str(other.pk)}, "for a day both are asked"
    assert target_teams(kill, now=clock.now() + LOOSENING + timedelta(minutes=1)) == {str(other.pk)}


@pytest.mark.django_db
def test_a_team_manager_makes_flags_about_what_the_team_answers_for(organisation: Organisation, actor: Actor) -> None:
    """A flag of their own does not reach another team's route, nor what nobody but the organisation answers for."""
    search, other = (Team.objects.create(organisation=organisation, name=name.title(), slug=name) for name in ("search", "other"))
    given_: dict[str, Any] = {"actor": actor, "organisation": organisation}
    provider_ensure(**given_, name="near", kind="openai", endpoints=[EndpointSpec("a", "https://near.example.com/v1")])
    ours, theirs, nobodys = (
        route_ensure(**given_, name=name, targets=[TargetSpec("near", "m")], owner=owner)
        for name, owner in (("ours", search), ("theirs", other), ("nobodys", None))
    )
    mia = member(organisation, "viewer")
    TeamMembership.objects.create(membership=Membership.objects.get(user=mia), team_id=search.pk, team_slug="search", role="manager")
    made: dict[str, Any] = {"actor": Actor.of_user(mia), "organisation": organisation, "owner": search}
    kill = flag_set(**made, name="kill-ours", kind="kill", subject_kind="route", subject_id=str(ours.pk))
    flag_set(**made, name="slow", kind="degrade", subject_kind="team", subject_id="search", level="limited")
    flag_set(**made, name="new-look", kind="release", subject_kind="organisation", subject_id=str(organisation.pk))
    beyond = [
        ("kill", "route", str(theirs.pk), "full"), ("kill", "route", str(nobodys.pk), "full"), ("kill", "feature", "search", "full"),
        ("degrade", "team", "other", "limited"), ("degrade", "organisation", str(organisation.pk), "limited"),
    ]  # fmt: skip
    for kind, subject, subject_id, level in beyond:
        with pytest.raises(PermissionRefused):
            flag_set(**made, name="reaching", kind=kind, subject_kind=subject, subject_id=subject_id, level=level)
    with pytest.raises(PermissionRefused):  # nor by an edit of what they had
        flag_set(**made, name=kill.name, kind="kill", subject_kind="route", subject_id=str(theirs.pk))
    assert flag_set(**made, name=kill.name, kind="kill", subject_kind="route", subject_id=str(ours.pk), purpose="said better").purpose
