"""The GPUs that a worker reports, as rows that promises can be made against."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import F, Value
from django.db.models.functions import Greatest
from django.utils import timezone

from apps.audit.rules import clean_text
from apps.contracts.fleet_facts import GpuFacts
from apps.fleet.models import Gpu, Worker

XID_FATAL = frozenset({48, 62, 63, 64, 74, 79, 92, 94, 95, 119, 120})
"""XID errors after which NVIDIA's catalogue says that the GPU needs a reset or a technician: nothing new is placed on it."""


def gpus_take(worker: Worker, facts: Sequence[GpuFacts]) -> None:
    """Rows as reported: new ones are added, those that are gone are marked, a capacity never falls below what was promised."""
    known = {gpu.uuid: gpu for gpu in worker.gpus.all()}
    for fact in facts:
        uuid, name = clean_text(fact.uuid, 200), clean_text(fact.name, 200)
        gpu = known.pop(uuid, None)
        if gpu is None:
            Gpu.objects.get_or_create(
                worker=worker,
                uuid=uuid,
                defaults={"index": fact.index, "name": name, "capacity": fact.memory_total or 0, "vendor": vendor_of(fact)},
            )
            continue
        Gpu.objects.filter(pk=gpu.pk).update(
            index=fact.index, name=name, gone_at=None, capacity=Greatest(F("claimed"), Value(fact.memory_total or 0))
        )
    gone = [gpu.pk for gpu in known.values() if gpu.gone_at is None]
    if gone:
        Gpu.objects.filter(pk__in=gone).update(gone_at=timezone.now())


def vendor_of(fact: GpuFacts) -> str:
    """Facts come from NVML, so a device is NVIDIA's, or a fake's."""
    return "simulated" if fact.simulated else "nvidia"


def trouble_of(fact: GpuFacts) -> str:
    """Why nothing should be placed on a GPU, in words; empty for a sound one."""
    if fact.ecc_uncorrected:
        return f"{fact.ecc_uncorrected} memory errors that could not be corrected"
    fatal = [code for code in fact.xids or () if code in XID_FATAL]
    return f"XID error {fatal[-1]}" if fatal else ""
