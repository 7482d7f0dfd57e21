"""Hours of own GPUs, for the page of what was spent in vain: ``python -m tests.browser.hours_seed``, into the database of ``DATABASE_URL``.

A lot of deployments with owners of long names in one organisation, two in another; of a month, day by day.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

GB = 1_000_000_000


def seed() -> None:
    from django.utils import timezone

    from apps.accounts.models import Organisation
    from apps.audit.actors import Actor
    from apps.contracts.identifiers import uuid7
    from apps.fleet.models import Deployment, Gpu, GpuTime, Worker
    from apps.fleet.services import deployment_ensure
    from apps.ownership.models import Team

    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    first: datetime = now.replace(day=1, hour=0)
    for slug, count in (("a-lot", 40), ("a-little", 2)):
        organisation = Organisation.objects.get(slug=slug)
        worker = Worker.objects.create(organisation=organisation, name="gpu-host", digest=uuid7().hex * 2, digest_at=now)
        Gpu.objects.create(worker=worker, uuid="GPU-1", name="NVIDIA H100 80GB HBM3", capacity=80 * GB)
        teams = [
            Team.objects.create(organisation=organisation, name=name, slug=f"hours-{at}")
            for at, name in enumerate(("Search", "A team whose name is as long as names of teams may well become in large companies"))
        ]
        rows = []
        for at in range(count):
            made: Deployment = deployment_ensure(
                actor=Actor.command("seed"), organisation=organisation, name=f"chat-{at:02}-of-the-long-named-service", model="sim-chat",
                engine="simulated", gpus=1, memory=(8 + at) * GB, owner=teams[at % 2],
            )  # fmt: skip
            hour = first
            while hour <= now:
                busy = 0.5 if 8 <= hour.hour < 18 else 0.0
                for state, share in (("serving", busy), ("idle", 0.95 - busy), ("loading", 0.04), ("failed", 0.01)):
                    if share:
                        spent = 3600 * share * (1 + at % 3)
                        rows.append(GpuTime(hour=hour, deployment=made, worker=worker, state=state, seconds=spent, gpu_seconds=spent))
                hour += timedelta(hours=3)
        GpuTime.objects.bulk_create(rows)


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()
    seed()
