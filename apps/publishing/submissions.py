"""A form that is sent twice is done once: the first sending claims its nonce in the transaction of the change.

The second waits at the unique constraint until the first has committed, then finds where it led; when the first rolled
back, the second does it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.publishing.models import Submission

KEPT = timedelta(days=1)


@transaction.atomic
def submission_claim(*, user: Any, nonce: str) -> bool:
    """Whether this sending is the first; to be called in the change's transaction. A form without a nonce is always first."""
    if not nonce:
        return True
    made = Submission.objects.bulk_create([Submission(user_id=user.pk, nonce=nonce)], ignore_conflicts=True)
    # ON CONFLICT DO NOTHING returns no id, so that only the row itself tells who made it: ours has no address yet.
    return bool(made) and Submission.objects.filter(user_id=user.pk, nonce=nonce, url="").exists()


def submission_close(*, user: Any, nonce: str, url: str) -> None:
    """Note where a claimed submission led, in the same transaction."""
    Submission.objects.filter(user_id=user.pk, nonce=nonce).update(url=url[:500])


def submission_url(*, user: Any, nonce: str) -> str:
    """Where this form led when it was sent before; empty: it was not."""
    return Submission.objects.filter(user_id=user.pk, nonce=nonce).values_list("url", flat=True).first() or "" if nonce else ""


def submissions_prune() -> int:
    """Forget submissions older than ``KEPT``; returns how many."""
    return Submission.objects.filter(at__lt=timezone.now() - KEPT).delete()[0]
