"""A flag that a rule about two persons holds for by its team leaves it by two persons only, whichever way it is tried."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Organisation, User
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.flags import change_choices as choices
from apps.flags.change_models import ChangeRequest
from apps.flags.change_rows import fingerprint, told_of
from apps.flags.change_rules import Asked, Rule, takes_two, weakened
from apps.flags.changes import change_approve, owner_submit
from apps.flags.four_eyes import TwoPersonsNeeded
from apps.flags.models import Flag
from apps.flags.services import flag_set
from apps.flags.two_person_rules import two_person_rule_add
from apps.ownership.models import Team
from apps.ownership.owned import owner_assign
from tests.people import client_of, member

ASKED = Asked("kill", "provider", frozenset({"a"}), frozenset({"production"}), "on", simulated_only=False)
RULES = st.builds(
    Rule,
    kind=st.sampled_from(["", "kill", "release"]),
    team=st.sampled_from(["", "a", "b"]),
    turning=st.sampled_from(["on", "off", "either"]),
)


@given(rules=st.lists(RULES, max_size=5), team=st.sampled_from(["", "a", "b"]))
def test_weakened_is_some_turn_that_took_two_and_takes_one(rules: list[Rule], team: str) -> None:
    after = ASKED._replace(teams=frozenset({team} - {""}))
    turns = ("on", "off")
    before_two = {turn for turn in turns if takes_two(ASKED._replace(direction=turn), rules)}
    after_two = {turn for turn in turns if takes_two(after._replace(direction=turn), rules)}
    found = weakened(ASKED, after, rules)
    assert (found is not None) == bool(before_two - after_two)
    assert found is None or (found in rules and found.team == "a" and team != "a"), "only a rule that names the team can be left"


class House(NamedTuple):
    """Two teams, a flag of the first, a rule that names it, and people."""

    organisation: Organisation
    search: Team
    other: Team
    flag: Flag
    users: dict[str, User]

    def by(self, role: str) -> Actor:
        return Actor.of_user(self.users[role])

    @property
    def owner(self) -> Team | None:
        return Flag.objects.select_related("owner").get(pk=self.flag.pk).owner


@pytest.fixture
def house(organisation: Organisation, actor: Actor) -> House:
    search = Team.objects.create(organisation=organisation, name="Search", slug="search")
    other = Team.objects.create(organisation=organisation, name="Other", slug="other")
    flag = flag_set(
        actor=actor, organisation=organisation, name="new-answers", kind="release", subject_kind="organisation",
        subject_id=organisation.pk, owner=search,
    )  # fmt: skip
    two_person_rule_add(actor=actor, organisation=organisation, team=search)
    users = {role: member(organisation, role) for role in ("admin", "manager", "viewer")}
    return House(organisation, search, other, flag, users)


def edited(house: House, by: Actor, owner: Team | None) -> Flag:
    return flag_set(
        actor=by, organisation=house.organisation, name="new-answers", kind="release", subject_kind="organisation",
        subject_id=house.organisation.pk, owner=owner,
    )  # fmt: skip


@pytest.mark.django_db
def test_one_person_gives_it_away_by_no_way(house: House) -> None:
    for team in (house.other, None):
        with pytest.raises(TwoPersonsNeeded, match="where team Search owns the flag or what it is about takes two persons"):
            edited(house, house.by("manager"), team)
        things = [("flag", str(house.flag.pk))]
        with pytest.raises(TwoPersonsNeeded):
            owner_assign(actor=house.by("admin"), organisation=house.organisation, things=things, team=team)
    assert house.owner == house.search
    assert edited(house, Actor.command("apply"), house.other).owner == house.other, "a document on the host is not asked"


@pytest.mark.django_db
def test_two_persons_do_and_once(house: House) -> None:
    row = owner_submit(actor=house.by("manager"), flag=house.flag, team=house.other, reason="they took it over")
    assert isinstance(row, ChangeRequest) and row.state == choices.WAITING and row.title == "Give new-answers to Other"
    again = owner_submit(actor=house.by("manager"), flag=house.flag, team=house.other, reason="once more")
    assert again.pk == row.pk and house.owner == house.search
    with pytest.raises(ServiceError, match="somebody else"):
        change_approve(actor=house.by("manager"), change=row)
    done = change_approve(actor=house.by("admin"), change=row)
    assert done.state == choices.APPLIED and house.owner == house.other and not Flag.objects.get(pk=house.flag.pk).on
    with pytest.raises(ServiceError, match="nothing to approve"):
        change_approve(actor=house.by("admin"), change=row)
    told = AuditEvent.objects.get(action="flag.update", subject_id=str(house.flag.pk))
    assert (told.before, told.after) == ({"owner": "search"}, {"owner": "other"})


@pytest.mark.django_db
def test_what_changed_meanwhile_is_seen_first_and_a_team_that_is_gone_gets_nothing(house: House) -> None:
    row = owner_submit(actor=house.by("manager"), flag=house.flag, team=house.other, reason="they took it over")
    Flag.objects.filter(pk=house.flag.pk).update(default="on")
    with pytest.raises(ServiceError, match="default"):
        change_approve(actor=house.by("admin"), change=row)
    house.other.delete()
    seen = fingerprint(told_of(Flag.objects.get(pk=house.flag.pk)))
    with pytest.raises(ServiceError, match="the team Other is deleted"):
        change_approve(actor=house.by("admin"), change=row, seen=seen)
    assert house.owner == house.search


@pytest.mark.django_db
def test_a_rule_that_names_no_team_is_not_left_by_giving_away(house: House, actor: Actor) -> None:
    two_person_rule_add(actor=actor, organisation=house.organisation, kind="release")
    found = owner_submit(actor=house.by("manager"), flag=house.flag, team=house.other, reason="they took it over")
    assert isinstance(found, Flag) and house.owner == house.other
    for wrong, says in ((house.other, "already"), (None, "")):
        with pytest.raises(ServiceError, match=says or "say why"):
            owner_submit(actor=house.by("manager"), flag=house.flag, team=wrong, reason="x" if says else " ")


@pytest.mark.django_db
def test_the_page_asks_and_says_what_came_of_it(house: House) -> None:
    client: Client = client_of(house.users["manager"])
    url = f"/flags/{house.flag.name}/owner/"
    assert "Change the owner" in client.get(f"/flags/{house.flag.name}/").content.decode()
    assert client.post(url, {"team": "", "reason": ""}).status_code == 400
    response = client.post(url, {"team": str(house.other.pk), "reason": "they took it over"})
    row = ChangeRequest.objects.get()
    assert response["Location"] == f"/changes/{row.pk}/"
    text = client.get(f"/changes/{row.pk}/").content.decode()
    assert "Give new-answers to Other" in text and "Waits for a second person" in text
    assert "give it to Other" in client.get(f"/flags/{house.flag.name}/").content.decode()
    assert client_of(house.users["viewer"]).get(url).status_code == 403
