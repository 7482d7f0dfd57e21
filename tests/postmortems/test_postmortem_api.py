"""The API of what is learnt: postmortems with their evidence are read, action items written and ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.postmortems.models import ActionItem
from tests.api.conftest import Caller
from tests.api.conftest import caller as caller_of
from tests.people import member
from tests.postmortems.learning import ready

pytestmark = pytest.mark.django_db
AT = "organisations/main/"


def test_postmortems_are_read_and_actions_written(organisation: Organisation) -> None:
    user = member(organisation)
    ada: Caller = caller_of(user)
    row = ready(organisation, user)
    (item,) = ada("get", f"{AT}postmortems/?state=review").json()["items"]
    assert (item["incident"], item["factors"], item["evidence"]) == ("INC-1", ["single-region"], None)
    whole = ada("get", f"{AT}postmortems/{row.pk}/").json()
    assert whole["evidence"]["times"]["result"]["mitigate_s"] == 2_400 and whole["sections"][0]["text"] == "About the summary."
    body = {"title": "Drill", "outcome": "A drill passes.", "owner": user.email, "due_on": str(clock.now().date() + timedelta(days=9))}
    made = ada("post", f"{AT}action-items/", body)
    assert (made.status_code, made.json()["reference"], made.json()["state"]) == (201, "ACT-1", "open")
    assert ada("post", f"{AT}action-items/", {**body, "owner": "nobody@example.test"}).json()["error"]["field"] == "owner"
    path = f"{AT}action-items/{made.json()['id']}/"
    changed = ada("patch", path, {"priority": "p1"}, If_Match=ada("get", path)["ETag"])
    assert changed.status_code == 200 and changed.json()["priority"] == "p1" and changed.json()["outcome"] == "A drill passes."
    assert ada("post", f"{path}decline/", {}).json()["error"]["field"] == "reason"
    assert ada("post", f"{path}done/", {"reason": "seen"}).json()["state"] == "done"
    assert caller_of(member(organisation, "viewer"))("post", f"{path}reopen/", {"reason": "x"}).status_code == 403
    assert ActionItem.objects.get().reason == "seen"
