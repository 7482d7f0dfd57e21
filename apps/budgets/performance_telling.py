"""Tells a performance budget's owner by e-mail that it is breached, and that it has recovered: each once, whoever looks and however often.

A verdict that says so makes a row in the transaction that writes the verdict down (``notice_of``); telling claims the row, as alerts of
budgets are claimed. A budget is *breached* from the first breached verdict to the first ``ok`` after it: what is unknown or a warning
between them is neither, so a figure that sits on its bound is not told of again and again.
"""

from __future__ import annotations

import logging

from django.db.models import F, Q
from django.utils import timezone as clock

from apps.budgets import performance_choices as choices
from apps.budgets.models import PerformanceBudget, PerformanceNotice, PerformanceVerdict
from apps.budgets.performance_measure import subjects_of
from apps.budgets.telling import CLAIM, MOST_TRIES, mail_send

log = logging.getLogger("bulkhead.budgets")


def notice_of(budget: PerformanceBudget, verdict: PerformanceVerdict) -> PerformanceNotice | None:
    """The row of what the owner is to be told of a new verdict; None: nothing. The budget's row is locked by whoever calls."""
    last = PerformanceNotice.objects.filter(verdict__budget=budget).order_by("-pk").values_list("kind", flat=True).first()
    if verdict.state == "breached" and last != choices.BREACHED:
        return PerformanceNotice.objects.create(verdict=verdict, kind=choices.BREACHED)
    if verdict.state == "ok" and last == choices.BREACHED:
        return PerformanceNotice.objects.create(verdict=verdict, kind=choices.RECOVERED)
    return None


def untold() -> list[int]:
    """Notices that wait to be told, also those whose last try failed."""
    return list(
        PerformanceNotice.objects.filter(_free(), told_at=None, tries__lt=MOST_TRIES).order_by("pk").values_list("pk", flat=True)[:500]
    )


def notice_tell(notice_id: int) -> bool:
    """Tell one. False: somebody else does, or it was told, or tried often enough. What fails is tried again later."""
    mine = PerformanceNotice.objects.filter(_free(), pk=notice_id, told_at=None, tries__lt=MOST_TRIES)
    if not mine.update(claimed_at=clock.now(), tries=F("tries") + 1):
        return False
    notice = PerformanceNotice.objects.select_related("verdict__budget__organisation").get(pk=notice_id)
    budget = notice.verdict.budget
    notice.claimed_at = None
    if budget.deleted_at is not None:
        notice.told, notice.told_at = "passed over: the budget was deleted", clock.now()
    else:
        try:
            mail_send(budget.owner_email, *notice_words(notice))
            notice.told, notice.told_at = f"e-mail to {budget.owner_email}"[:300], clock.now()
        except (OSError, ValueError) as error:
            log.warning("performance budgets: notice %d could not be told: %s: %s", notice.pk, type(error).__name__, error)
            notice.told = f"failed: e-mail ({type(error).__name__})"
            notice.told_at = clock.now() if notice.tries >= MOST_TRIES else None
    notice.save(update_fields=["told", "told_at", "claimed_at"])
    return True


def notice_words(notice: PerformanceNotice) -> tuple[str, str]:
    """(subject, text) for people."""
    verdict, budget = notice.verdict, notice.verdict.budget
    subject = subjects_of(budget.organisation, [budget]).get(budget.pk, "")
    of = f"{budget.scope} {subject}" if subject else f"a {budget.scope} that is gone"
    metric = choices.METRICS[budget.metric].label
    what = "is breached" if notice.kind == choices.BREACHED else "holds again"
    evidence = verdict.evidence
    lines = [
        f"The performance budget {budget.name} of {budget.organisation.name} {what}.",
        f"{metric} of {of}: {evidence.get('why', '')}.",
        f"Measured from {evidence.get('samples', 0):,} {evidence.get('samples_of', '')} over {choices.WINDOWS[budget.window].label}, "
        f"at {verdict.at:%Y-%m-%d %H:%M} UTC.",
        "Deployments that ask for this verdict are held back." if notice.kind == choices.BREACHED else "",
    ]
    return f"[Bulkhead] {notice.kind}: performance budget {budget.name}, {metric} of {of}"[:250], "\n".join(filter(None, lines))


def _free() -> Q:
    return Q(claimed_at=None) | Q(claimed_at__lt=clock.now() - CLAIM)
