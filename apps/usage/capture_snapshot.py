"""Rows -> the section ``captures``. It is never rolled back: config of another day must not start to keep requests again."""

from __future__ import annotations

from apps.contracts.snapshot import CaptureFragment, Fragment
from apps.publishing.registry import Section
from apps.usage.capture_models import CapturePatterns, CaptureRule


def _build(ids: set[str] | None) -> dict[str, Fragment]:
    rows = list(CaptureRule.objects.filter(ended_at=None) if ids is None else CaptureRule.objects.filter(ended_at=None, pk__in=ids))
    owners = {row.organisation_id for row in rows}
    patterns = dict(CapturePatterns.objects.filter(organisation__in=owners).values_list("organisation_id", "patterns")) if owners else {}
    return {
        str(row.pk): CaptureFragment(
            id=str(row.pk),
            organisation=str(row.organisation_id),
            name=row.name,
            route=row.route_id,
            key=row.key_id,
            sampled=round(row.percent * 100),
            left=row.wanted,
            until_ms=int(row.until.timestamp() * 1000) if row.until is not None else 0,
            patterns=tuple((kind, template) for kind, template in patterns.get(row.organisation_id, ())),
        )
        for row in rows
    }


captures = Section(build=_build)
