"""Writes of what is known of models: a person's word, and taking what packages and providers' lists say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction

from apps.accounts.selectors import permission_require
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.catalogue import packages, rules
from apps.catalogue.models import Entry, PackagesTaken
from apps.catalogue.selectors import known_of, packages_taken
from apps.contracts.model_facts import NOTHING, ModelFacts
from apps.providers.models import Provider, ProviderModel
from apps.providers.prices import model_ensure, price_id
from apps.publishing.services import publish, section_touch

if TYPE_CHECKING:
    from apps.audit.actors import Actor

SECTION = "models"


@transaction.atomic
def override_set(*, actor: Actor, provider: Provider, model: str, facts: ModelFacts, note: str = "", reason: str = "") -> Entry | None:
    """What a person says of a model, in place of what was said before; nothing at all hands it back to packages and the provider's list.
    The same again changes nothing. None: nothing is known of the model any more. Publish afterwards.

    Raises ServiceError for numbers out of range, unknown capabilities, contradictions and days that are none.
    """
    permission_require(actor=actor, action="provider.change", organisation=provider.organisation)
    facts = rules.check_facts(facts)
    if len(note) > 300 or any(ord(c) < 32 for c in note):
        raise ServiceError("a note is one line of up to 300 characters", "note")
    row = model_ensure(actor=actor, provider=provider, name=model, reason=reason)
    # Two at once take turns, so that the audit's "before" is what was there.
    ProviderModel.objects.select_for_update().get(pk=row.pk)
    entry = Entry.objects.filter(model=row).first() or Entry(model=row)
    before = override_facts(entry)
    entry.own, entry.note = rules.stored(facts), note if facts != NOTHING else ""
    after = override_facts(entry)
    if after == before:
        return None if entry._state.adding else entry
    kept = _kept(entry)
    action = "model.create" if not before["says"] else "model.delete" if facts == NOTHING else "model.update"
    audit_record(
        actor=actor,
        action=action,
        subject_kind="model",
        subject_id=price_id(row),
        subject_name=str(row),
        before=before["says"] and before,
        after=after["says"] and after,
        reason=reason,
    )
    section_touch(section=SECTION, ids=[price_id(row)])
    return entry if kept else None


def override_clear(*, actor: Actor, entry: Entry, reason: str = "") -> None:
    """Hand a model back to what packages and the provider's list say."""
    override_set(actor=actor, provider=entry.model.provider, model=entry.model.name, facts=NOTHING, reason=reason)


def override_facts(entry: Entry) -> dict[str, Any]:
    """What the audit keeps of a person's word."""
    return {"says": dict(entry.own), "note": entry.note}


@transaction.atomic
def known_take(models: Iterable[ProviderModel]) -> list[ProviderModel]:
    """Take what packages and providers' lists say of models now; returns those of which something differs since. models: read with their
    providers. Nothing is audited: nobody decided anything. Publish afterwards."""
    rows = list(models)
    entries = Entry.objects.select_for_update().in_bulk([row.pk for row in rows])
    found = known_of(rows)
    differing = []
    for row in rows:
        entry = entries.get(row.pk) or Entry(model=row)
        known, sources = rules.stored(found[row.pk].facts), found[row.pk].sources
        if (entry.known, entry.sources) == (known, sources):
            continue
        moved = entry.known != known
        entry.known, entry.sources = known, sources
        _kept(entry)
        if moved:
            differing.append(row)
    if differing:
        section_touch(section=SECTION, ids=[price_id(row) for row in differing])
    return differing


def model_follow(model: ProviderModel) -> None:
    """A model was met for the first time, or its provider's price list is another one."""
    known_take([model])


def packages_follow(*, actor: Actor) -> PackagesTaken | None:
    """After an upgrade of a package: what it says is taken and published, once. None where there was no upgrade.

    Raises PublishError where the new facts do not compile; then nothing was changed, and the next run tries again.
    """
    installed = packages.packages()
    if packages_taken() == installed:
        return None

    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('catalogue packages', 0))")
        if packages_taken() == installed:  # another worker was quicker
            return None
        changed = known_take(ProviderModel.objects.select_related("provider"))
        row = PackagesTaken.objects.create(packages=installed, changed=[str(model) for model in changed])
        if changed:  # only then: what others have not published yet is not this upgrade's to publish
            publish(actor=actor, reason=f"what models can do: {installed}")
    return row


@transaction.atomic
def entry_restore(*, actor: Actor, provider: Provider, name: str, known: ModelFacts, own: ModelFacts, reason: str) -> None:
    """What was known and said of a model as an earlier config version had it; what packages say comes back with their next upgrade."""
    permission_require(actor=actor, action="config.rollback", organisation=provider.organisation)
    model, _ = ProviderModel.objects.get_or_create(provider=provider, name=name)
    entry = Entry.objects.filter(model=model).first() or Entry(model=model)
    before = override_facts(entry)
    if (entry.known_facts, entry.own_facts) == (known, own):
        return
    if entry.known_facts != known:
        entry.known, entry.sources = rules.stored(known), {}
    entry.own = rules.stored(own)
    after = override_facts(entry)
    _kept(entry)
    audit_record(
        actor=actor,
        action="model.restore",
        subject_kind="model",
        subject_id=price_id(model),
        subject_name=str(model),
        before=before,
        after=after,
        reason=reason,
    )
    section_touch(section=SECTION, ids=[price_id(model)])


def _kept(entry: Entry) -> bool:
    """Save the row, or delete it where it says nothing any more; whether it is there."""
    if entry.known or entry.own:
        entry.save(force_insert=entry._state.adding)
        return True
    if not entry._state.adding:
        Entry.objects.filter(pk=entry.pk).delete()
    return False
