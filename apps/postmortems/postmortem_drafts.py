"""A first narrative, proposed by a model through our own proxy: off until a route and a key are named, marked as a draft, never text by
itself.

What is sent is the frozen evidence and the timeline of the incident: facts, no prompts and no answers of users.
"""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from socket import gethostname
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from django.db import transaction
from django.db.models import F
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.keys.models import VirtualKey
from apps.keys.passes import key_pass
from apps.postmortems import postmortem_choices as choices
from apps.postmortems.models import Postmortem
from apps.postmortems.postmortem_figures import impact_figures, time_figures
from apps.postmortems.postmortem_rules import text_clean
from apps.postmortems.postmortem_selectors import Template, evidence_of, template_now
from apps.publishing.selectors import fleet_status

TIMEOUT = httpx.Timeout(180.0, connect=5.0)
MOST_ENTRIES, LONGEST, MOST_TOKENS = 150, 40_000, 2_000
"""Entries of the timeline and characters that are sent, and tokens that may come back."""
LEFT = timedelta(minutes=10)
EVERYWHERE = {"0.0.0.0", "::"}
SYSTEM = (
    "You help to write a blameless incident postmortem. From the facts below write a short narrative in Markdown with the headings "
    "Summary, What happened, Questions to answer. Use only what the facts say, name no persons, guess no causes: "
    "put what is unknown under Questions."
)

log = logging.getLogger("bulkhead.postmortems")


def drafts_on(template: Template) -> bool:
    """Whether an organisation named a route and a key for drafts."""
    return template.row is not None and bool(template.row.draft_route) and template.row.draft_key_id is not None


@transaction.atomic
def draft_ask(*, actor: Actor, postmortem: Postmortem) -> Postmortem:
    """Have a worker ask for a draft. A second time while it does changes nothing. Raises ServiceError where drafts are off, and without
    evidence to make one of."""
    permission_require(actor=actor, action="postmortem.change", organisation=postmortem.organisation)
    row = Postmortem.objects.select_for_update(of=("self",)).select_related("organisation", "incident").get(pk=postmortem.pk)
    if not drafts_on(template_now(row.organisation)):
        raise ServiceError("Drafts by a model are off: somebody who may change the template names a route and a key for them.", "draft")
    if row.state == choices.PUBLISHED:
        raise ServiceError("It is published: open it again first, with a reason.", "state")
    if not row.take:
        raise ServiceError("Take the evidence first: a draft is made of nothing else.", "take")
    if not row.drafting:
        row.drafting, row.draft_error = "asked", ""
        row.save(update_fields=["drafting", "draft_error", "changed_at"])
        change_record(actor, "postmortem.ask_draft", row, {}, {"evidence": row.take})
    return row


def drafts_wanted() -> list[UUID]:
    """Postmortems whose draft waits to be asked for; what a worker left behind ends here."""
    left = Postmortem.objects.filter(drafting="running", changed_at__lt=clock.now() - LEFT)
    left.update(drafting="", draft_error="Its worker ended in the middle: ask again.", changed_at=F("changed_at"))
    return list(Postmortem.objects.filter(drafting="asked").values_list("pk", flat=True)[:10])


def draft_take(postmortem_id: UUID, *, client: httpx.Client | None = None) -> str:
    """Ask for one draft and keep it; the text, empty where somebody else asks, or why is kept in ``draft_error``."""
    if not Postmortem.objects.filter(pk=postmortem_id, drafting="asked").update(drafting="running", changed_at=clock.now()):
        return ""
    row = Postmortem.objects.select_related("organisation", "incident").get(pk=postmortem_id)
    template = template_now(row.organisation)
    facts = {"drafting": "", "draft_error": "", "changed_at": clock.now()}
    try:
        if not drafts_on(template) or template.row is None or template.row.draft_key is None:
            raise ServiceError("Drafts were turned off meanwhile.")
        text = _asked(row, template.row.draft_route, template.row.draft_key, client)
        facts |= {"draft": text, "drafted_at": clock.now(), "drafted_by": template.row.draft_route}
    except (ServiceError, httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
        log.warning("postmortems: no draft of %s: %s", row.incident.reference, error)
        text, facts["draft_error"] = "", f"{error if isinstance(error, ServiceError) else type(error).__name__ + ': ' + str(error)}"[:500]
    Postmortem.objects.filter(pk=postmortem_id, drafting="running").update(**facts)
    return text


def _asked(row: Postmortem, route: str, key: VirtualKey, client: httpx.Client | None) -> str:
    body = json.dumps(
        {
            "model": route,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt_of(row)}],
            "max_tokens": MOST_TOKENS,
        },
        ensure_ascii=False,
    ).encode()
    token = key_pass(actor=Actor.system("postmortems"), key=key, route=route, body=body)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "x-bulkhead-tags": "postmortem-draft"}
    with client or httpx.Client(trust_env=False, timeout=TIMEOUT) as calling:
        answer = calling.post(f"{proxy_url()}/v1/chat/completions", content=body, headers=headers)
    if answer.status_code != 200:
        raise ServiceError(f"The route {route} answered {answer.status_code}: {answer.text[:200]}")
    text = text_clean(str(answer.json()["choices"][0]["message"]["content"])).strip()
    if not text:
        raise ServiceError(f"The route {route} answered with nothing.")
    return text[:LONGEST]


def prompt_of(row: Postmortem) -> str:
    """The facts, as text: what evidence says and what the timeline holds."""
    results: dict[str, Any] = {name: one.result for name, one in evidence_of(row).items()}
    lines = [f"Incident {row.incident.reference}, {row.incident.severity.upper()}: {row.incident.title}"]
    lines += [f"{figure.name}: {figure.value} {figure.note}".strip() for figure in [*time_figures(results), *impact_figures(results)]]
    lines += [
        f"{one['at']} {one['title']} {one['text'][:200]}".strip() for one in results.get("timeline", {}).get("entries", ())[:MOST_ENTRIES]
    ]
    return "\n".join(lines)[:LONGEST]


def proxy_url() -> str:
    """Where a proxy can be called. Raises ServiceError where none was heard of."""
    proxies = fleet_status()["proxies"]
    up = [proxy for proxy in proxies if proxy["public_url"] and not proxy["silent"] and proxy["state"] != "draining"]
    if not up:
        raise ServiceError("No proxy has been heard of, so no model can be asked.")
    url, host = str(up[0]["public_url"]), str(up[0]["host"])
    parts = urlsplit(url)
    if (parts.hostname or "") in EVERYWHERE:  # it listens everywhere, and is called on its host
        url = parts._replace(netloc=f"{'127.0.0.1' if host == gethostname() else host}:{parts.port}").geturl()
    return url.rstrip("/")
