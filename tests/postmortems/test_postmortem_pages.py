"""Pages of postmortems, actions, patterns, checklists and the status page: what they show, what people do there, their queries."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.ownership.care_services import runbook_set
from apps.ownership.markdown import render
from apps.postmortems.action_services import ActionSpec, action_create
from apps.postmortems.checklist_services import checklist_start
from apps.postmortems.incident_services import incident_move
from apps.postmortems.models import ActionItem, ChecklistRun, Factor, Postmortem, PostmortemText, StatusPage
from apps.postmortems.postmortem_evidence import evidence_take
from apps.postmortems.postmortem_queries import QUERIES
from apps.postmortems.postmortem_rules import mark_of, text_clean
from apps.postmortems.postmortem_services import postmortem_create
from apps.postmortems.status_rules import OUT, WATCHED, WORKS, Said, status_of
from tests.ownership.test_pages import page, send
from tests.people import client_of, member
from tests.postmortems.learning import COMMAND, incident, ready

pytestmark = pytest.mark.django_db
COUNTS = json.loads(Path(__file__).with_name("postmortem_query_counts.json").read_text())
NAUGHTY = Path(__file__).resolve().parents[2] / ".." / "shared" / "material" / "vectors" / "blns" / "blns.json"
EVERYTHING = """# Big
## Small
Words with **bold**, *italic*, `code <b>`, [a link](https://example.com/a?b=c&d), https://bare.example.com/x.

- one
  - below
- [ ] box
- [x] done

3. three
4. four

> quoted
> > twice

| a | b |
| --- | ---: |
| 1 | `x` |

```sql
SELECT '<script>alert(1)</script>'; -- & more
```

---
<script>alert(1)</script> <img src=x onerror=alert(1)> [x](javascript:alert(1)) & &amp;
"""


class Tags(HTMLParser):
    """Tags and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def write(client: Client, row: Postmortem, texts: dict[str, str], *, part: bool = False, **more: Any) -> Any:
    """Send the editor's form from what stands there now; part: as the page itself does while one writes."""
    row.refresh_from_db()
    sent: dict[str, Any] = {f"text-{key}": text for key, text in texts.items()}
    sent |= {f"mark-{key}": mark_of(row.texts.get(key, "")) for key in texts}
    headers = {"HX-Request": "true"} if part else {}
    return client.post(f"/postmortems/{row.pk}/edit/", {**sent, "submission": "page", **more}, headers=headers)


def test_from_an_incident_to_a_published_postmortem(organisation: Organisation) -> None:
    mel, mia = client_of(member(organisation, "member")), client_of(member(organisation, "manager"))
    row = incident(organisation, person=None)
    assert "needs one" in page(mel, f"/incidents/{row.pk}/") and "Begin it now" in page(mel, f"/incidents/{row.pk}/")
    made = mel.post(f"/incidents/{row.pk}/postmortem/")
    postmortem = Postmortem.objects.get()
    assert made["Location"] == f"/postmortems/{postmortem.pk}/" and "Being taken" in page(mel, made["Location"])
    assert evidence_take(postmortem.pk) == 1
    url = made["Location"]
    send(mel, f"{url}facts/", {"owner": str(member(organisation, "on-call").pk), "detected": "alert", "trigger": "provider",
                               "factors": ["single-region"], "due_on": "2026-11-30"})  # fmt: skip
    assert "Still missing" in unescape(mel.post(f"{url}submit/", follow=True).content.decode())
    told = write(mel, postmortem, {"summary": "We should have known.", "lessons": ""}, part=True).content.decode()
    assert "Kept" in told and "should have" in told and "<html" not in told
    write(mel, postmortem, {part.key: f"**{part.title}** is written." for part in postmortem.parts}, done="1")
    mel.post(f"{url}submit/")
    text = page(mia, url)
    assert "Sign off" in text and "<strong>Summary</strong>" in text and "Single region" in text
    mia.post(f"{url}sign/", {"revision": Postmortem.objects.get().revision, "reason": "read"})
    mel.post(f"{url}publish/")
    assert Postmortem.objects.get().state == "published"
    assert "Noticed after" in page(mel, url) and mel.get(f"{url}edit/").status_code == 302
    export = mel.get(f"{url}export/")
    assert export["Content-Type"].startswith("text/markdown") and "**Lessons** is written." in export.content.decode()
    assert "inc-1-postmortem.md" in export["Content-Disposition"]
    for query in QUERIES:  # no moment as programs write it
        assert not re.search(r">[^<]*\d{4}-\d\d-\d\dT\d\d:", page(mel, f"{url}evidence/1/{query}/")), query
    assert "2400 s" in page(mel, f"{url}evidence/1/times/") and mel.get(f"{url}evidence/1/nothing/").status_code == 404


def test_what_was_written_survives_a_conflict_a_limit_and_the_end_of_a_session(organisation: Organisation) -> None:
    mel, mia = client_of(member(organisation, "member")), client_of(member(organisation, "manager"))
    row = postmortem_create(actor=COMMAND, incident=incident(organisation))
    url = f"/postmortems/{row.pk}/edit/"
    assert "has the editor open" not in page(mel, url) and "has the editor open" not in page(mia, url), "looking takes nothing"
    mel.post(f"/postmortems/{row.pk}/hold/", headers={"HX-Request": "true"})
    assert "has the editor open" not in page(mel, url) and "Mel has the editor open" in page(mia, url)
    assert "Mel has the editor" in mia.post(f"/postmortems/{row.pk}/hold/", headers={"HX-Request": "true"}).content.decode()
    mia.post(f"/postmortems/{row.pk}/hold/", {"take": "1"})
    assert "Mia has the editor" in mel.post(f"/postmortems/{row.pk}/hold/", headers={"HX-Request": "true"}).content.decode()
    write(mel, row, {"summary": "Mel's"})
    clash = mia.post(url, {"text-summary": "Mia's <b>", "mark-summary": mark_of(""), "submission": "other"})
    said = unescape(clash.content.decode())
    assert clash.status_code == 409 and "Mia's <b></textarea>" in said and "Mel's" in said and "Mine replaces theirs" in said
    assert PostmortemText.objects.get(aside=True).texts == {"summary": "Mia's <b>"}
    done = mia.post(url, {"text-summary": "Mia's", "mark-summary": mark_of(""), "submission": "other", "mine": "summary", "done": "1"})
    assert done.status_code == 302 and Postmortem.objects.get().texts["summary"] == "Mia's"
    long = write(mel, row, {"summary": "x" * 200_001})
    assert long.status_code == 400 and "200,000 fit" in unescape(long.content.decode()) and "x" * 200_001 in long.content.decode()
    lost = Client().post(url, {"text-summary": "typed", "mark-summary": "m", "submission": "page"})
    assert lost.status_code == 401 and "carried" in lost.content.decode()
    restored = mel.post(url, {"text-summary": "typed", "mark-summary": "m", "submission": "page", "restored": "1"})
    assert "everything you typed is here" in restored.content.decode() and "typed</textarea>" in restored.content.decode()
    assert Postmortem.objects.get().texts["summary"] == "Mia's"


@pytest.mark.skipif(not NAUGHTY.exists(), reason=f"{NAUGHTY} is not there: the naughty strings are no part of the repository")
def test_markdown_and_naughty_strings_come_back_as_they_were(organisation: Organisation) -> None:
    mel = client_of(member(organisation, "member"))
    row = postmortem_create(actor=COMMAND, incident=incident(organisation))
    naughty = [text for text in json.loads(NAUGHTY.read_text(encoding="utf-8")) if text.strip()]
    written = {"summary": EVERYTHING, "lessons": "\n\n".join(naughty), "well": "\n\n".join(f"`{text}`" for text in naughty)}
    assert write(mel, row, written).status_code == 200
    row.refresh_from_db()
    assert row.texts == {key: text_clean(text) for key, text in written.items()}
    editor = Tags()
    again = mel.get(f"/postmortems/{row.pk}/edit/")
    editor.feed(again.content.decode())
    assert {part.section.key: part.text for part in again.context["parts"] if part.text} == row.texts
    whole = f"\n{row.texts['lessons']}</textarea>"
    assert whole in unescape(again.content.decode()), "what the browser shows is what was written"
    assert row.texts["summary"] in mel.get(f"/postmortems/{row.pk}/export/").content.decode()
    for text in row.texts.values():
        shown = Tags()
        shown.feed(str(render(text)))
        assert not {tag for tag, _ in shown.found} & {"script", "img", "svg", "iframe", "style", "form", "input", "object"}
        for _, attributes in shown.found:
            assert not any(name.startswith("on") or name == "style" for name in attributes)
            assert not (attributes.get("href") or "").lower().strip().startswith(("javascript:", "data:", "vbscript:"))
    assert mel.get(f"/postmortems/{row.pk}/").status_code == 200


def test_three_incidents_with_a_shared_factor_and_two_without_say_so(organisation: Organisation) -> None:
    mel = member(organisation, "member")
    shared = {"factors": ("single-region",), "routes": ("embed",)}
    facts: list[dict[str, Any]] = [shared, shared, shared, {"factors": ("deploy",)}, {"factors": ("quota",), "severity": "sev2"}]
    now = clock.now()
    for at, more in enumerate(facts):
        ready(organisation, mel, title=f"Number {at}", started_at=now - timedelta(days=10 + at), **more)
    text = page(client_of(mel), "/patterns/?by=route")
    assert "3 of 4 SEV1s: single region on route embed" in text and "on route <b>embed</b>" in text
    assert "retry storm" not in text
    assert "3 incidents" in page(client_of(mel), "/patterns/?factor=single-region")
    assert "No such incident" in page(client_of(mel), "/patterns/?severity=sev4")


def test_the_status_page_says_what_was_written_for_it_to_whom_it_may(organisation: Organisation) -> None:
    mia, stranger = client_of(member(organisation, "manager")), Client()
    assert stranger.get("/status/main/").status_code == 404
    form = {
        "audience": "signed-in",
        "title": "Status",
        "text": "Hello **you**",
        "components": "Chat | routes: chat\nImages | routes: images",
    }
    send(mia, "/status-page/", form)
    row = incident(organisation, "Secret words", state="active", routes=("chat",), started_at=clock.now() - timedelta(hours=3))
    assert "Secret" not in page(mia, "/status/main/") and "Works" in page(mia, "/status/main/")
    incident_move(actor=COMMAND, incident=row, to="mitigated", text="We see *errors*.", public=True)
    text = page(mia, "/status/main/")
    assert "We see <em>errors</em>." in text and "Works again, watched" in text and "Secret words" not in text
    assert stranger.get("/status/main/")["Location"].startswith("/login/")
    outsider = client_of(member(Organisation.objects.create(name="Other", slug="other")))
    assert outsider.get("/status/main/").status_code == 404
    send(mia, "/status-page/", {**form, "audience": "public"})
    assert "We see" in page(stranger, "/status/main/") and stranger.post("/status/main/").status_code == 405
    wrong = mia.post("/status-page/", {**form, "components": "Chat | rout: x", "revision": "", "submission": "n"})
    assert wrong.status_code in (400, 409)
    assert StatusPage.objects.get().audience == "public"


def test_a_component_shows_the_worst_of_what_is_about_it() -> None:
    out, watched = Said("sev1", "active", frozenset({"chat"})), Said("sev1", "mitigated")
    assert status_of([out, watched], routes=["chat"], services=[]) == OUT
    assert status_of([out, watched], routes=["images"], services=[]) == WATCHED, "an incident without a scope is about everything"
    assert status_of([out], routes=["images"], services=["x"]) == WORKS
    assert status_of([out], routes=[], services=[]) == OUT, "a component without a scope stands for everything"


def test_actions_and_checklists_by_hand(organisation: Organisation) -> None:
    user = member(organisation, "member")
    mel, viewer = client_of(user), client_of(member(organisation, "viewer"))
    row = ready(organisation, user)
    due = clock.now().date() + timedelta(days=30)
    fields = {"title": "Drill", "outcome": "A drill passes.", "owner": str(user.pk), "due_on": str(due), "priority": "p1", "check": ""}
    assert send(mel, f"/actions/new/?postmortem={row.pk}", fields) == f"/postmortems/{row.pk}/"
    action = ActionItem.objects.get()
    assert "ACT-1 Drill" in page(mel, "/actions/?mine=1") and "ACT-1" in page(mel, f"/postmortems/{row.pk}/")
    ActionItem.objects.update(owner=None)  # whoever had it left
    for url in (f"/postmortems/{row.pk}/", "/actions/", f"/actions/{action.pk}/"):
        assert "Nobody" in page(mel, url), url
    ActionItem.objects.update(owner=user)
    send(mel, f"/actions/{action.pk}/edit/", {**fields, "title": "Drill again"})
    mel.post(f"/actions/{action.pk}/decline/", {"reason": "no"})
    mel.post(f"/actions/{action.pk}/reopen/", {"reason": "yes"})
    mel.post(f"/actions/{action.pk}/done/", {"reason": "seen"})
    action.refresh_from_db()
    assert (action.state, action.title, action.reopened) == ("done", "Drill again", 1)
    page(mel, f"/actions/{action.pk}/")  # where the toasts are
    assert "ACT-1" not in page(mel, "/actions/") and "ACT-1" in page(mel, "/actions/?state=done")
    book = runbook_set(actor=COMMAND, organisation=organisation, name="down", title="Down", text="- [ ] Look\n- [ ] Flip")
    fire = incident(organisation, "Fire", state="active")
    begun = mel.post(f"/incidents/{fire.pk}/checklists/", {"runbook": str(book.pk)})
    run = ChecklistRun.objects.get()
    assert begun["Location"] == f"/checklists/{run.pk}/" and "0 of 2 steps" in page(mel, begun["Location"])
    mel.post(f"/checklists/{run.pk}/step/", {"position": "1", "state": "done"})
    assert "Say why it is skipped" in unescape(
        mel.post(f"/checklists/{run.pk}/step/", {"position": "2", "state": "skipped"}, follow=True).content.decode()
    )
    assert "1 of 2 steps" in page(mel, begun["Location"]) and "1 of 2" in page(mel, f"/incidents/{fire.pk}/")
    for url in (f"/actions/{action.pk}/done/", f"/checklists/{run.pk}/step/", f"/postmortems/{row.pk}/edit/", "/postmortems/template/"):
        assert viewer.post(url, {"reason": "x"}).status_code == 403


def test_pages_take_no_more_queries_than_committed(organisation: Organisation) -> None:
    user = member(organisation)
    admin, row = client_of(user), ready(organisation, user)
    spec = ActionSpec("Drill", "A drill passes.", user, clock.now().date() + timedelta(days=3))
    action = action_create(actor=COMMAND, organisation=organisation, spec=spec, postmortem=row)
    book = runbook_set(actor=COMMAND, organisation=organisation, name="down", title="Down", text="- [ ] Look")
    run = checklist_start(actor=Actor.of_user(user), incident=incident(organisation, "Fire", state="active"), runbook=book)
    StatusPage.objects.create(organisation=organisation, audience="public", title="S")
    text = PostmortemText.objects.filter(postmortem=row).first()
    assert text is not None
    ids = {"<postmortem>": row.pk, "<action>": action.pk, "<run>": run.pk, "<factor>": Factor.objects.all()[0].pk, "<text>": text.pk}
    found = {}
    for name in COUNTS:
        url = name
        for word, pk in ids.items():
            url = url.replace(word, str(pk))
        page(admin, url)
        with CaptureQueriesContext(connection) as queries:
            page(admin, url)
        found[name] = len(queries)
    assert found == COUNTS and max(found.values()) <= 12, json.dumps(found)
    for url in ("/patterns/", "/status-page/", "/status/main/"):
        page(admin, url)
        with CaptureQueriesContext(connection) as queries:
            page(admin, url)
        assert len(queries) <= 12, url
