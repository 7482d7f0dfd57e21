"""Every kind of thing: made, listed, read, changed, removed; by nobody who may not; audited with the token that did it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.api import throttling
from apps.accounts.models import Organisation, User
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.flags.two_person_rules import two_person_rule_add
from apps.providers.models import Credential
from tests.api.conftest import AGENT, Caller, caller, failure
from tests.people import member

MAIN = "organisations/main/"
COUNTS: dict[str, int] = json.loads(Path(__file__).with_name("query_counts.json").read_text())
TARGET = {"provider": "acme", "model": "large"}

# kind -> what a new one takes, with {id of another kind}; a change; a field that tells it; the audit's subject
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "teams": ({"slug": "ops"}, {"contact_email": "ops@example.test"}, "team"),
    "services": ({"team": "ml", "slug": "search"}, {"name": "Search"}, "service"),
    "credentials": ({"name": "spare", "value": "sk-canary-0001"}, {"value": "sk-canary-0002"}, "credential"),
    "providers": (
        {"name": "other", "endpoints": [{"base_url": "https://other.example.com/v1", "credential": "main"}]},
        {"enabled": False}, "provider",
    ),
    "routes": ({"name": "new", "targets": [TARGET], "resilience": {"hedge_percent": 5}}, {"resilience": {"queue_ms": 500}}, "route"),
    "keys": ({"name": "new", "service": "ml/chat", "tags": ["a"]}, {"routes": ["chat"]}, "key"),
    "prices": (
        {"provider": "acme", "model": "tiny", "prices": [{"input": 1, "output": 2}]}, {"prices": [{"input": 3, "output": 4}]}, "price",
    ),
    "models": ({"provider": "acme", "model": "bare", "own": {"can": ["tools"]}}, {"own": {"window": 8000, "cannot": ["seed"]}}, "model"),
    "discounts": ({"name": "new", "provider": "acme", "model": "large", "discount": 100}, {"discount": 200}, "discount"),
    "unit-prices": (
        {"name": "new", "provider": "acme", "model": "large", "unit": "second", "per_thousand": 5}, {"per_thousand": 6}, "unit_price",
    ),
    "gpu-prices": ({"name": "new", "gpu": "B200", "per_hour": 5}, {"per_hour": 6}, "gpu_price"),
    "budgets": ({"name": "new", "scope": "organisation", "window": "month", "limit_nano": 5}, {"limit_nano": 6}, "budget"),
    "limits": ({"name": "new", "scope": "organisation", "kind": "tokens_per_minute", "amount": 5}, {"amount": 6}, "limit"),
    "performance-budgets": (
        {"name": "new", "scope": "model", "scope_id": "small", "metric": "ttft_p95", "bound": "2s", "owner_email": "a@b.test"},
        {"bound": "3s"}, "performance_budget",
    ),
    "rotations": ({"name": "new", "team": "ml", "weekday": "wed", "days": "mon-fri"}, {"time": "10:30"}, "rotation"),
    "runbooks": ({"name": "new", "title": "New"}, {"text": "# Look"}, "runbook"),
    "slas": ({"team": "ml", "service": "chat", "availability": "99.9"}, {"window_days": 7}, "sla"),
    "regions": ({"name": "eu", "owners": [{"layer": "proxy", "team": "ml"}]}, {"title": "Europe", "owners": []}, "region"),
    "layers": ({"name": "data"}, {"title": "Data", "position": 4}, "layer"),
    "key-templates": ({"team": "ml", "environments": ["staging"]}, {"most_keys": 5, "limits": {"requests_per_minute": 6}}, "key_template"),
    "flags": (
        {"name": "new", "kind": "kill", "subject_kind": "route", "subject_id": "{routes}"}, {"purpose": "stop it"}, "flag",
    ),
}  # fmt: skip
WHOLE = {"me/", "me/tokens/", "organisations/", "config/", "config/versions/", "config/versions/1/diff/", "audit/"}
"""Addresses that belong to no organisation."""
KEPT = {"prices", "models"}
"""Kinds that are not removed."""


def new_of(kind: str, things: dict[str, str]) -> dict[str, Any]:
    return {name: value.format(**things) if isinstance(value, str) and "{" in value else value for name, value in KINDS[kind][0].items()}


def holds(told: Any, wanted: Any) -> bool:
    """Whether what is told is what was wanted, whatever else it says."""
    if isinstance(wanted, dict):
        return all(holds(told[name], value) for name, value in wanted.items())
    if isinstance(wanted, list) and wanted and isinstance(wanted[0], dict):
        return len(told) == len(wanted) and all(map(holds, told, wanted))
    return bool(told == wanted)


def test_each_from_making_to_removing(admin: Caller, things: dict[str, str], ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one person, at once: more calls than the API's rate lets anybody make."""
    for rate in (throttling.CALLS, throttling.REFUSALS):
        monkeypatch.setattr(rate, "slack", 3_600.0)
    for kind in KINDS:
        made_to_removed(kind, admin, things, ada)


def made_to_removed(kind: str, admin: Caller, things: dict[str, str], ada: User) -> None:
    given, changed, subject = new_of(kind, things), *KINDS[kind][1:]
    made = admin.post(f"{MAIN}{kind}/", {**given, "reason": "wanted"})
    assert made.status_code == 201, made.content
    where = made["Location"]
    body = made.json()
    assert {name for name in given if name not in body} <= {"value"}

    read = admin.get(where)
    assert read.status_code == 200 and read["ETag"] == made["ETag"]
    assert {name: value for name, value in body.items() if name != "secret"} == read.json()
    assert admin.get(where, If_None_Match=read["ETag"]).status_code == 304
    assert (
        read.json()
        in admin.get(f"{MAIN}{kind}/?q={body.get('name') or body.get('slug') or body.get('model') or body['team']}").json()["items"]
    )

    failure(admin("patch", where, changed), 428, "precondition_required")
    after = admin("patch", where, {**changed, "reason": "better so"}, If_Match=read["ETag"])
    assert after.status_code == 200, after.content
    assert after["ETag"] != read["ETag"] or kind == "credentials"
    told = after.json()
    assert holds(told, {name: value for name, value in changed.items() if name != "value"}), (kind, told)
    stale = failure(admin("patch", where, changed, If_Match='"something-else"'), 412, "changed_meanwhile")
    assert stale["details"]["current"] == told and stale["details"]["etag"] == after["ETag"]

    if kind not in KEPT:
        failure(admin("delete", where), 428, "precondition_required")
        gone = admin("delete", f"{where}?reason=over", If_Match=after["ETag"])
        assert gone.status_code == 204, gone.content
        assert kind == "keys" or admin.get(where).status_code == 404
    events = AuditEvent.objects.filter(subject_kind=subject, actor_id=str(ada.pk), actor_via__startswith="token tests (…")
    assert events.count() >= (2 if kind in KEPT else 3)
    assert {(event.actor_agent, event.actor_address, event.actor_role) for event in events} == {(AGENT, "127.0.0.1", "admin of main")}


def test_a_viewer_reads_everything_and_changes_nothing(viewer: Caller, things: dict[str, str]) -> None:
    before = AuditEvent.objects.count()
    for kind in KINDS:
        where = f"{MAIN}{kind}/{things[kind]}/"
        read = viewer.get(where)
        assert read.status_code == 200
        failure(viewer.post(f"{MAIN}{kind}/", new_of(kind, things)), 403, "permission_denied")
        failure(viewer("patch", where, KINDS[kind][1], If_Match=read["ETag"]), 403, "permission_denied")
        if kind not in KEPT:
            failure(viewer("delete", where, If_Match=read["ETag"]), 403, "permission_denied")
    assert AuditEvent.objects.count() == before


def test_few_queries_however_many_there_are(admin: Caller, things: dict[str, str]) -> None:
    admin.get("me/")  # the minute's note that the token is used
    counted = {}
    for name in COUNTS:
        path = name if not name.endswith("<id>/") else f"{name.partition('/')[0]}/{things[name.partition('/')[0]]}/"
        with CaptureQueriesContext(connection) as queries:
            assert admin.get(path if name in WHOLE else MAIN + path).status_code == 200, name
        counted[name] = len(queries)
    assert counted == COUNTS and max(COUNTS.values()) <= 12


def test_a_name_that_is_taken_and_a_misspelt_field(admin: Caller, things: dict[str, str]) -> None:
    error = failure(
        admin.post(f"{MAIN}limits/", {"name": "rpm", "scope": "organisation", "kind": "tokens_per_minute", "amount": 1}), 400, "invalid"
    )
    assert error["field"] == "name"
    error = failure(admin.post(f"{MAIN}routes/", {"name": "x", "targets": [{**TARGET, "wieght": 3}]}), 400, "invalid")
    assert error["field"] == "targets[0].wieght" and "weight" in error["message"]
    error = failure(admin.post(f"{MAIN}routes/", {"name": "x", "targets": [{"provider": "nobody", "model": "m"}]}), 400, "invalid")
    assert error["field"] == "targets[0].provider" and "acme" in error["message"]
    read = admin.get(f"{MAIN}routes/chat/")
    error = failure(admin("put", f"{MAIN}routes/chat/", {"name": "other", "targets": [TARGET]}, If_Match=read["ETag"]), 400, "invalid")
    assert error["field"] == "name"


def test_put_is_all_of_it_and_patch_some(admin: Caller, things: dict[str, str]) -> None:
    where = f"{MAIN}routes/chat/"
    changed = admin("patch", where, {"max_attempts": 2, "deadlines": {"idle_ms": 9000}}, If_Match="*").json()
    assert (changed["max_attempts"], changed["deadlines"]["idle_ms"], len(changed["targets"]), changed["owner"]) == (2, 9000, 2, "ml")
    whole = admin("put", where, {"targets": [TARGET]}, If_Match="*").json()
    assert (whole["max_attempts"], whole["deadlines"]["idle_ms"], len(whole["targets"]), whole["owner"]) == (3, 30_000, 1, "")


def test_a_write_is_published_with_its_reason_and_a_dry_run_is_not(admin: Caller, things: dict[str, str]) -> None:
    where = f"{MAIN}routes/chat/"
    dry = admin("patch", f"{where}?dry_run=1", {"max_attempts": 1}, If_Match="*").json()
    assert dry["dry_run"] and [(item["name"], item["change"]) for item in dry["changes"]] == [("chat", "changed")]
    assert {"path": "max_attempts", "before": 3, "after": 1} in dry["changes"][0]["fields"]
    assert admin.get(where).json()["max_attempts"] == 3
    done = admin("patch", where, {"max_attempts": 1, "reason": "one try will do"}, If_Match="*")
    number = int(done["Bulkhead-Config-Version"])
    assert number == dry["base_version"] + 1
    assert admin.get(f"config/versions/{number}/").json()["reason"] == "one try will do"


def test_a_key_has_its_secret_once_and_a_new_one_by_rotation(admin: Caller, things: dict[str, str]) -> None:
    made = admin.post(f"{MAIN}keys/", {"name": "once"}).json()
    assert made["secret"].startswith("bk-") and "secret" not in admin.get(f"{MAIN}keys/{made['id']}/").json()
    turned = admin.post(f"{MAIN}keys/once/rotate/", {"reason": "leaked"}).json()
    assert turned["secret"] != made["secret"] and turned["id"] == made["id"]
    assert admin("delete", f"{MAIN}keys/once/", If_Match="*").status_code == 204
    failure(admin.get(f"{MAIN}keys/once/"), 404, "not_found")
    assert admin.get(f"{MAIN}keys/{made['id']}/").json()["state"] == "revoked"
    assert made["id"] not in {row["id"] for row in admin.get(f"{MAIN}keys/").json()["items"]}
    assert made["id"] in {row["id"] for row in admin.get(f"{MAIN}keys/?revoked=1").json()["items"]}


def test_a_credential_goes_in_and_never_comes_out(admin: Caller, things: dict[str, str]) -> None:
    admin.post(f"{MAIN}credentials/", {"name": "spare", "value": "sk-canary-7777-0123456789"})
    assert Credential.objects.get(name="spare").last_four
    for path in ("credentials/", "credentials/spare/", "providers/", "audit/"):
        shown = admin.get(path if path == "audit/" else MAIN + path)
        assert shown.status_code == 200 and b"sk-canary" not in shown.content


def test_flags_flip_and_routes_switch_at_once(admin: Caller, things: dict[str, str]) -> None:
    error = failure(admin.post(f"{MAIN}flags/acme-off/flip/", {"on": True}), 400, "invalid")
    assert error["field"] == "reason"
    flipped = admin.post(f"{MAIN}flags/acme-off/flip/", {"on": True, "reason": "their region is out", "acknowledge": True})
    assert flipped.status_code == 200 and flipped.json()["on"] is True and flipped["Bulkhead-Config-Version"]
    admin.post(f"{MAIN}routes/chat/switch/", {"target": {"provider": "acme", "model": "small"}, "reason": "large is slow"})
    admin.post(f"{MAIN}routes/chat/breaker/", {"target": TARGET, "state": "open", "reason": "errors"})
    found = admin.get(f"{MAIN}overrides/").json()["items"]
    assert {(item["kind"], item["name"], item["reason"]) for item in found} == {
        ("flag", "acme-off", "their region is out"), ("switch", "chat", "large is slow"), ("breaker", "chat", "errors"),
    }  # fmt: skip
    assert admin("delete", f"{MAIN}routes/chat/switch/").status_code == 200
    admin.post(f"{MAIN}routes/chat/breaker/", {"target": TARGET, "state": "auto"})
    admin.post(f"{MAIN}flags/acme-off/flip/", {"on": False, "reason": "they are back"})
    assert admin.get(f"{MAIN}overrides/").json()["items"] == []


def test_nobody_reaches_into_another_organisation(admin: Caller, things: dict[str, str], organisation: Organisation) -> None:
    olga = caller(member(Organisation.objects.create(name="Other", slug="other"), email="olga@example.test"))
    for kind, pk in things.items():
        failure(olga.get(f"{MAIN}{kind}/"), 404, "not_found")
        failure(olga.get(f"organisations/other/{kind}/{pk}/"), 404, "not_found")
        failure(olga("delete" if kind not in KEPT else "patch", f"organisations/other/{kind}/{pk}/", If_Match="*"), 404, "not_found")
    failure(olga.get("audit/"), 403, "permission_denied")
    failure(olga.get("config/"), 403, "permission_denied")


def test_a_flip_that_takes_two_is_asked_for_by_one_and_approved_by_another(
    admin: Caller, things: dict[str, str], organisation: Organisation, actor: Actor
) -> None:
    two_person_rule_add(actor=actor, organisation=organisation, turning="on", reason="it stops everybody")
    asked = admin.post(f"{MAIN}flags/acme-off/flip/", {"on": True, "reason": "out", "acknowledge": True})
    assert asked.status_code == 202 and asked.json()["state"] == "waiting"
    where = f"{MAIN}changes/{asked.json()['change_request']}/"
    assert admin.get(f"{MAIN}changes/?state=waiting").json()["items"][0]["asked_by"] == "ada@example.test"
    failure(admin.post(f"{where}approve/", {}), 400, "invalid")  # nobody approves their own, with whatever token
    other = caller(member(organisation, "manager", email="mia@example.test"))
    seen = other.get(where).json()
    done = other.post(f"{where}approve/", {"seen": seen["seen"], "reason": "agreed"})
    assert done.status_code == 200 and done.json()["state"] == "applied" and done["Bulkhead-Config-Version"]
    assert admin.get(f"{MAIN}flags/acme-off/").json()["on"] is True
    failure(other.post(f"{where}approve/", {}), 400, "invalid")
    assert failure(admin.get(f"{MAIN}changes/?state=lost"), 400, "invalid")["field"] == "state"


def test_who_is_on_call_and_who_owns_what(admin: Caller, things: dict[str, str]) -> None:
    (row,) = admin.get(f"{MAIN}on-call/").json()["items"]
    assert (row["rotation"], row["team"], row["person"], row["covered"]) == ("weekly", "ml", None, True)
    assert failure(admin.get(f"{MAIN}on-call/?at=soon"), 400, "invalid")["field"] == "at"
    assert failure(admin.get(f"{MAIN}on-call/?team=nobody"), 400, "invalid")["field"] == "team"
    failure(admin.get(f"{MAIN}owners/eu/models/"), 404, "not_found")
