"""Celery envelopes of the demo; queue ``default``."""

from __future__ import annotations

from celery import shared_task

from apps.audit.actors import Actor
from controlplane.demo import removal

SWEEP_SECONDS = 60
"""After the removal: the longest answer of a simulated provider has ended by then."""


@shared_task(name="controlplane.demo.tasks.demo_remove")
def demo_remove(actor: dict[str, str], organisation: str) -> None:
    """Remove the demo, then look once more for what was under way. ``actor``: the fields of an Actor."""
    removal.demo_remove(actor=Actor(**actor))  # type: ignore[arg-type]
    demo_sweep.apply_async(kwargs={"organisation": organisation}, countdown=SWEEP_SECONDS)


@shared_task(name="controlplane.demo.tasks.demo_sweep")
def demo_sweep(organisation: str) -> None:
    """Usage of the removed organisation that was settled after its removal."""
    removal.demo_sweep(organisation=organisation)
