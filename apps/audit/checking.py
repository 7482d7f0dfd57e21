"""Walking the chain from time to time, so that a page can say how far it is known to be unbroken without walking it itself."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from apps.audit.chain import chain_verify
from apps.audit.models import ChainCheck

KEPT = timedelta(days=90)


@transaction.atomic
def chain_check(*, whole: bool = False) -> ChainCheck:
    """Walk what follows the last good check, or everything with ``whole``, and keep the result.

    A break stays reported until a whole walk finds none: a walk that begins behind it would not see it.
    """
    last = ChainCheck.objects.order_by("-id").first()
    start = (last.head, last.head_hash) if last is not None and not last.broken and last.head and not whole else None
    report = chain_verify(after=start)
    ChainCheck.objects.filter(at__lt=timezone.now() - KEPT).delete()
    return ChainCheck.objects.create(
        at=timezone.now(), links=report.links, head=report.head, head_hash=report.head_hash, broken=report.broken, whole=start is None
    )


def chain_checked() -> ChainCheck | None:
    """The last result; None before the first walk."""
    return ChainCheck.objects.order_by("-id").first()
