"""Taking evidence: every query asked once, its answer kept for good. In the background, with progress; safe to run twice.

A taking is shown once it is whole; until then, and where it fails, what was shown before stays. Rows of a taking are never changed: the
database refuses it (migration ``0002``), so the same postmortem says the same for ever, and a new taking stands beside it.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Max
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.postmortems import postmortem_choices as choices
from apps.postmortems.models import Postmortem, PostmortemEvidence
from apps.postmortems.postmortem_queries import QUERIES, question_of
from apps.publishing.selectors import head_number
from controlplane.away import database_away

LEFT = timedelta(minutes=15)
"""A taking without a word for so long was left behind by its worker."""

log = logging.getLogger("bulkhead.postmortems")


@transaction.atomic
def evidence_ask(*, actor: Actor, postmortem: Postmortem) -> Postmortem:
    """Have evidence taken, from scratch, by a worker. A second time while it is taken changes nothing. Raises ServiceError where it is
    published: what was published stays as it was."""
    permission_require(actor=actor, action="postmortem.change", organisation=postmortem.organisation)
    row = Postmortem.objects.select_for_update(of=("self",)).select_related("incident").get(pk=postmortem.pk)
    if row.state == choices.PUBLISHED:
        raise ServiceError("It is published with the evidence that it has: open it again first, with a reason.", "state")
    if row.taking is None:
        row.taking, row.taking_error = 0, ""
        row.save(update_fields=["taking", "taking_error", "changed_at"])
        change_record(actor, "postmortem.take_evidence", row, {"evidence": row.take}, {"evidence": _next(row)})
    return row


def evidence_wanted() -> list[UUID]:
    """Postmortems whose evidence waits to be taken."""
    return list(Postmortem.objects.filter(taking=0).order_by("changed_at").values_list("pk", flat=True)[:20])


def evidence_take(postmortem_id: UUID, *, by: str = "Bulkhead") -> int:
    """Take what was asked for; the number of the taking, 0 where somebody else takes it or nobody asked. Errors are kept beside it."""
    if not Postmortem.objects.filter(pk=postmortem_id, taking=0).update(taking=1, changed_at=clock.now()):
        return 0
    row = Postmortem.objects.select_related("incident__organisation", "organisation").get(pk=postmortem_id)
    number, question = _next(row), question_of(row.incident)
    version = head_number() or None
    for place, (name, query) in enumerate(QUERIES.items()):

        def progress(percent: int, place: int = place) -> None:
            done = max(1, (place * 100 + max(0, min(percent, 100))) // len(QUERIES))
            Postmortem.objects.filter(pk=postmortem_id, taking__lt=done).update(taking=min(done, 99), changed_at=clock.now())

        progress(0)
        try:
            result = query.ask(question, progress)
        except Exception as error:
            if database_away(error):
                raise  # nothing can be kept now, not even why
            log.exception("postmortems: evidence %s of %s", name, row.incident.reference)
            why = f"{query.title}: {type(error).__name__}: {error}"[:500]
            Postmortem.objects.filter(pk=postmortem_id).update(taking=None, taking_error=why)
            return 0
        PostmortemEvidence.objects.create(
            postmortem=row, take=number, query=name, parameters=question.parameters, result=result, config_version=version,
            url=query.url(question)[:1000], taken_at=clock.now(), taken_by=by[:500],
        )  # fmt: skip
    Postmortem.objects.filter(pk=postmortem_id, taking__isnull=False).update(
        take=number, taking=None, taking_error="", changed_at=clock.now()
    )
    return number


def evidence_recover() -> int:
    """End what workers left behind; how many. Whoever wants it asks again."""
    left = Postmortem.objects.filter(taking__gt=0, changed_at__lt=clock.now() - LEFT)
    return left.update(taking=None, taking_error="Its worker ended in the middle: take it again.", changed_at=F("changed_at"))


def _next(row: Postmortem) -> int:
    """One more than the highest number that was ever begun, whole or not."""
    highest: int | None = PostmortemEvidence.objects.filter(postmortem=row).aggregate(most=Max("take"))["most"]
    return max(row.take, highest or 0) + 1
