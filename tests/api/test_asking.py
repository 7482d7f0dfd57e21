"""What is asked for and decided by the API: keys of teams, rules for two persons, stand-ins, cells; and what flips would do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.flags.models import FlagFlip, TwoPersonRule
from apps.flags.two_person_rules import two_person_rule_add
from apps.keys.models import VirtualKey
from apps.publishing.models import ManagedThing
from controlplane.configfile.apply import apply_file
from tests.api.conftest import Caller, caller, failure
from tests.people import member

MAIN = "organisations/main/"
REQUESTS = f"{MAIN}key-requests/"


def test_a_key_is_asked_for_approved_by_another_and_fetched_once(admin: Caller, things: dict[str, str], organisation: Organisation) -> None:
    mel = caller(member(organisation, "member"))
    wish = {"team": "ml", "name": "mine", "environment": "staging", "limits": {"requests_per_minute": 60}}
    assert failure(mel.post(REQUESTS, wish), 400, "invalid")["field"] == "reason"
    asked = mel.post(REQUESTS, {**wish, "reason": "a trial"})
    assert asked.status_code == 201 and asked.json()["state"] == "open" and asked.json()["why"] == "a trial"
    where = asked["Location"]
    assert admin.get(f"{REQUESTS}?state=open").json()["items"] == [asked.json()] == [mel.get(where).json()]
    failure(mel.post(f"{where}approve/", {}), 403, "permission_denied")
    assert failure(admin.get(f"{REQUESTS}?state=lost"), 400, "invalid")["field"] == "state"
    failure(mel.post(f"{where}secret/"), 404, "not_found")
    done = admin.post(f"{where}approve/", {"reason": "go on"})
    assert done.status_code == 200 and done.json()["state"] == "approved" and done["Bulkhead-Config-Version"], done.content
    failure(admin.post(f"{where}reject/", {"reason": "no"}), 400, "invalid")
    failure(admin.post(f"{where}secret/"), 400, "invalid")
    secret = mel.post(f"{where}secret/").json()
    key = VirtualKey.objects.get(name="mine")
    assert (secret["key"], secret["public_id"]) == (str(key.pk), key.public_id) and secret["secret"].startswith("bk-")
    failure(mel.post(f"{where}secret/"), 400, "invalid")

    no = mel.post(REQUESTS, {**wish, "name": "other", "reason": "again"})["Location"]
    assert failure(admin.post(f"{no}reject/", {}), 400, "invalid")["field"] == "reason"
    assert admin.post(f"{no}reject/", {"reason": "use the first"}).json()["answer"] == "use the first"
    back = mel.post(REQUESTS, {**wish, "name": "third", "reason": "again"})["Location"]
    failure(admin.post(f"{back}withdraw/", {}), 400, "invalid")
    assert mel.post(f"{back}withdraw/", {}).json()["state"] == "withdrawn"


def test_a_key_inside_a_teams_bounds_is_made_at_once(admin: Caller, things: dict[str, str]) -> None:
    assert admin.post(f"{MAIN}teams/spare/keys/", {"name": "one"}).json()["secret"]
    failure(admin.post(f"{MAIN}teams/nobody/keys/", {"name": "two"}), 404, "not_found")


def test_outside_of_them_it_says_why_and_where_to_ask(things: dict[str, str], organisation: Organisation, actor: Actor) -> None:
    mel = member(organisation, "member")
    spare = organisation.teams.get(slug="spare")  # type: ignore[attr-defined]
    mel.memberships.get().team_memberships.create(team_id=spare.pk, role="member")
    calls = caller(mel)
    error = failure(calls.post(f"{MAIN}teams/spare/keys/", {"name": "x", "environment": "production"}), 400, "outside_bounds")
    assert "the environment production" in error["details"]["outside"][0] and error["details"]["ask_at"].endswith("/key-requests/")
    assert calls.post(f"{MAIN}teams/{spare.pk}/keys/", {"name": "x", "environment": "staging"}).status_code == 201


def test_rules_for_two_persons_come_at_once_and_go_a_day_later(admin: Caller, things: dict[str, str], organisation: Organisation) -> None:
    rules, body = f"{MAIN}two-person-rules/", {"kind": "kill", "subject_kind": "provider", "team": "ml"}
    made = admin.post(rules, {**body, "reason": "they stop everybody"})
    assert made.status_code == 201 and made.json()["why"] == "they stop everybody" and made.json()["ends_at"] is None
    assert failure(admin.post(rules, body), 400, "invalid")["field"] == "kind"
    assert failure(admin.post(rules, {"kind": "stop"}), 400, "invalid")["field"] == "kind"
    where = made["Location"]
    assert admin.get(where)["ETag"] == made["ETag"] and admin.get(rules).json()["items"] == [made.json()]
    failure(admin("delete", where), 428, "precondition_required")
    assert failure(admin("delete", where, If_Match="*"), 400, "invalid")["field"] == "reason"
    assert admin("delete", f"{where}?reason=over", If_Match=made["ETag"]).status_code == 204
    assert TwoPersonRule.objects.get().ends_at is not None and admin.get(where).json()["ends_at"]
    failure(caller(member(organisation, "manager")).post(rules, {"kind": "degrade"}), 403, "permission_denied")


def test_somebody_stands_in_and_a_cell_changes_hands(admin: Caller, things: dict[str, str], organisation: Organisation) -> None:
    member(organisation, "on-call", email="ona@example.test")
    now = timezone.now()
    given = {
        "person": "ona@example.test",
        "starts_at": now.isoformat(),
        "ends_at": (now + timedelta(hours=8)).isoformat(),
        "reason": "a cold",
    }
    where = f"{MAIN}rotations/weekly/overrides/"
    assert failure(admin.post(where, {**given, "person": "no@example.test"}), 400, "invalid")["field"] == "person"
    assert failure(admin.post(where, {**given, "ends_at": now.isoformat()}), 400, "invalid")["field"] == "ends_at"
    made = admin.post(where, given)
    assert made.status_code == 201 and made.json()["why"] == "a cold"
    (row,) = admin.get(f"{MAIN}on-call/").json()["items"]
    assert (row["person"], row["stands_in"]) == ("ona@example.test", True)
    assert admin("delete", f"{where}{made.json()['id']}/").status_code == 204
    assert admin.get(f"{MAIN}on-call/").json()["items"][0]["person"] is None
    assert admin.post(f"{MAIN}runbooks/away/review/", {"reason": "read"}).json()["reviewed_by"] == "ada@example.test"

    cell = f"{MAIN}owners/eu-west/proxy/"
    assert admin.get(cell).json()["team"] == "ml"
    assert failure(admin("delete", f"{MAIN}teams/ml/?reason=gone", If_Match="*"), 400, "invalid")["message"].startswith(
        "ML still answers for"
    )
    assert admin.post(cell, {"team": "spare", "reason": "moved"}).json()["team"] == "spare"
    assert admin.post(cell, {"team": ""}).json()["team"] == ""
    failure(admin.get(cell), 404, "not_found")
    assert failure(admin.post(f"{MAIN}owners/eu-west/nothing/", {"team": "ml"}), 400, "invalid")["field"] == "layer"


def test_a_flip_is_foretold_and_what_was_foretold_is_kept_with_it(
    admin: Caller, things: dict[str, str], organisation: Organisation, actor: Actor, viewer: Caller
) -> None:
    found = viewer.post(f"{MAIN}flags/acme-off/preview/", {"on": True}).json()
    assert (found["flag"], found["on"], found["routes"], found["requests"]) == ("acme-off", True, ["chat"], 0)
    assert {"targets", "gaps", "cost_now_nano", "first_token_then_us", "budgets"} <= found.keys()
    failure(viewer.post(f"{MAIN}flags/acme-off/preview/", {"on": True, "share": 101}), 400, "invalid")
    assert not FlagFlip.objects.exists()
    admin.post(f"{MAIN}flags/acme-off/flip/?dry_run=1", {"on": True, "reason": "out", "acknowledge": True})
    assert not FlagFlip.objects.exists()
    admin.post(f"{MAIN}flags/acme-off/flip/", {"on": True, "reason": "out", "acknowledge": True})
    flip = FlagFlip.objects.get()
    assert (flip.turn_on, flip.by, flip.version, flip.predicted["routes"]) == (True, "ada@example.test", 2, ["chat"])
    admin.post(f"{MAIN}flags/acme-off/flip/", {"on": True, "reason": "out", "acknowledge": True})
    assert FlagFlip.objects.count() == 1, "it was on already"

    two_person_rule_add(actor=actor, organisation=organisation, turning="off", reason="careful")
    waiting = admin.post(f"{MAIN}flags/acme-off/flip/", {"on": False, "reason": "back"}).json()
    assert waiting["state"] == "waiting" and FlagFlip.objects.count() == 1
    mia = caller(member(organisation, "manager", email="mia@example.test"))
    mia.post(f"{MAIN}changes/{waiting['change_request']}/approve/", {"reason": "agreed"})
    assert FlagFlip.objects.latest("at").turn_on is False and FlagFlip.objects.count() == 2


def test_what_a_document_manages_is_refused_with_the_entry_to_write(
    admin: Caller, things: dict[str, str], organisation: Organisation, tmp_path: Path, actor: Actor
) -> None:
    path = tmp_path / "bulkhead.yaml"
    path.write_text("limits: [{name: rpm, route: chat, kind: requests_per_minute, amount: 9}]\n", encoding="utf-8")
    apply_file(actor=actor, path=path, organisation="main")
    where = f"{MAIN}limits/rpm/"

    def write(query: str = "", **more: Any) -> Any:
        return admin("patch", where + query, {"amount": 10, **more}, If_Match="*")

    (told,) = failure(write(), 409, "managed_by_document")["details"]["managed"]
    assert (told["document"], told["kind"], told["name"]) == ("bulkhead.yaml", "limit", "rpm") and "amount: 10" in told["entry"]
    assert told["fields"] == [{"path": "amount", "document": "9", "now": "10"}]
    assert write("?dry_run=1").json()["managed"] == [told]
    assert failure(write("?anyway=1"), 400, "invalid")["field"] == "reason"
    assert admin.get(where).json()["amount"] == 9
    done = write("?anyway=1", reason="now")
    assert done.json()["amount"] == 10 and done["Bulkhead-Managed-By"] == "bulkhead.yaml"
    assert ManagedThing.objects.get().edited_by == "ada@example.test"
