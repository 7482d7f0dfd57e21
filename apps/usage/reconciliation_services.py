"""Importing a provider's export, once, and removing it."""

from __future__ import annotations

import hashlib
import re

from django.db import transaction

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.usage.reconciliation_models import ProviderExport, ProviderExportLine
from apps.usage.reconciliation_reading import MOST_BYTES, ReadingError
from apps.usage.reconciliation_shapes import LABELS, provider_export_read

_PROVIDER = re.compile(r"[^\W_][\w.-]{0,79}", re.ASCII)


@transaction.atomic
def provider_export_import(
    *, actor: Actor, organisation: Organisation, provider: str, simulated: bool, file_name: str, content: bytes
) -> ProviderExport:
    """Take a file whole, or refuse it. Raises ServiceError: unreadable, too large, or imported already."""
    permission_require(actor=actor, action="reconciliation.change", organisation=organisation)
    provider = provider.strip()
    if not _PROVIDER.fullmatch(provider):
        raise ServiceError(f"{provider[:80]!r} is no provider's name: write it as the page Providers has it.", "provider")
    if len(content) > MOST_BYTES:
        raise ServiceError(f"The file is larger than {MOST_BYTES // 2**20} MB: export a shorter time, or by day.", "file")
    digest = hashlib.sha256(content).hexdigest()
    known = ProviderExport.objects.filter(organisation=organisation, simulated=simulated, digest=digest).first()
    if known is not None:
        raise ServiceError(
            f"This file was imported already, on {known.imported_at:%Y-%m-%d %H:%M} UTC for provider {known.provider}. "
            "Look at that comparison, or remove it first.",
            "file",
        )
    try:
        found = provider_export_read(content)
    except ReadingError as error:
        raise ServiceError(str(error), "file") from error
    shown = re.sub(r"[^\w.() -]", "_", file_name.replace("\\", "/").rsplit("/", 1)[-1])[:200] or "export"
    export, made = ProviderExport.objects.get_or_create(
        organisation=organisation,
        simulated=simulated,
        digest=digest,
        defaults={
            "provider": provider, "shape": found.shape, "file_name": shown, "size": len(content), "rows": found.rows,
            "first_day": found.first, "last_day": found.last, "part": found.part, "actor": actor.name or actor.kind,
        },
    )  # fmt: skip
    if not made:
        raise ServiceError("Somebody imported this very file just now: look at that comparison.", "file")
    ProviderExportLine.objects.bulk_create(
        ProviderExportLine(
            export=export,
            day=day,
            model=model,
            requests=figures.requests,
            tokens_input=figures.tokens_input,
            tokens_output=figures.tokens_output,
            cost_nano=figures.cost_nano,
        )
        for (day, model), figures in found.sums.items()
    )
    facts = {
        "provider": provider, "shape": LABELS[found.shape], "file": shown, "sha256_of_file": digest, "rows": found.rows,
        "first_day": str(found.first), "last_day": str(found.last), "simulated": simulated, "organisation": organisation.slug,
    }  # fmt: skip
    audit_record(
        actor=actor,
        action="reconciliation.import",
        subject_kind="reconciliation",
        subject_id=export.pk,
        subject_name=export.name,
        before={},
        after=facts,
    )
    return export


@transaction.atomic
def provider_export_remove(*, actor: Actor, export: ProviderExport, reason: str = "") -> None:
    """Forget a file and what it said; it can be imported again. What was recorded is not touched."""
    permission_require(actor=actor, action="reconciliation.change", organisation=export.organisation)
    audit_record(
        actor=actor,
        action="reconciliation.remove",
        subject_kind="reconciliation",
        subject_id=export.pk,
        subject_name=export.name,
        before={"file": export.file_name, "provider": export.provider, "sha256_of_file": export.digest},
        after={},
        reason=reason,
    )
    export.delete()
