"""Which things a document manages, and how their entries read: what ``apps.publishing.managed`` knows of documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args, get_type_hints

import msgspec
from django.db.models import QuerySet

from apps.accounts.models import Organisation
from apps.alerts.models import AlertRule, NotificationPolicy, Slo
from apps.audit.models import AuditEvent
from apps.budgets.limit_selectors import limits_of
from apps.budgets.performance_selectors import performance_budgets_of
from apps.budgets.selectors import budgets_of
from apps.flags.selectors import flags_of
from apps.fleet.selectors import deployments_of
from apps.keys.models import KeyTemplate
from apps.keys.selectors import keys_of
from apps.ownership.models import Layer, Region, Runbook, Service, Sla
from apps.ownership.rotation_selectors import rotations_of
from apps.ownership.selectors import teams
from apps.prices.selectors import gpu_prices_of
from apps.prices.units import unit_prices_of
from apps.providers.selectors import credentials_of, discounts_of, providers_of
from apps.publishing.managed import Comparison, Listed
from apps.publishing.managed_models import ManagedThing
from apps.publishing.preview import FieldChange
from apps.routes.selectors import routes_of
from controlplane.configfile import changing, samples, telling, views, watching
from controlplane.configfile.changes import leaves
from controlplane.configfile.document import Document, FlagEntry
from controlplane.configfile.plain import plain, yaml_of
from controlplane.configfile.reading import Draft
from controlplane.configfile.standing import FLAG_STANDING
from controlplane.configfile.writing import entry_of

Ids = Callable[[Organisation], dict[str, str]]
"""An entry's name -> the id of what it is."""


def _by(rows: Callable[[Organisation], QuerySet[Any]], name: str = "name") -> Ids:
    return lambda organisation: {text: str(pk) for text, pk in rows(organisation).order_by().values_list(name, "pk")}


def _of(model: Any, organisation: str = "organisation", name: str = "name") -> Ids:
    return _by(lambda found: model.objects.filter(**{organisation: found}), name)


THINGS: dict[str, tuple[str, Ids]] = {
    "teams": ("team", _by(lambda organisation: teams(organisation=organisation), "slug")),
    "layers": ("layer", _of(Layer)),
    "regions": ("region", _of(Region)),
    "rotations": ("rotation", _by(rotations_of)),
    "runbooks": ("runbook", _of(Runbook)),
    "credentials": ("credential", _by(credentials_of)),
    "providers": ("provider", _by(providers_of)),
    "discounts": ("discount", _by(discounts_of)),
    "unit_prices": ("unit_price", _by(unit_prices_of)),
    "gpu_prices": ("gpu_price", _by(gpu_prices_of)),
    "deployments": ("deployment", _by(deployments_of)),
    "routes": ("route", _by(routes_of)),
    "keys": ("key", _by(keys_of)),
    "key_templates": ("key_template", _of(KeyTemplate, "team__organisation", "team__slug")),
    "budgets": ("budget", _by(budgets_of)),
    "limits": ("limit", _by(limits_of)),
    "performance_budgets": ("performance_budget", _by(performance_budgets_of)),
    "flags": ("flag", _by(flags_of)),
    "two_person_rules": ("two_person_rule", changing.rule_ids),
    "schedules": ("change", changing.schedule_ids),
    "alert_rules": ("alert_rule", _by(lambda organisation: AlertRule.objects.filter(organisation=organisation, deleted_at=None, slo=None))),
    "slos": ("slo", _by(lambda organisation: Slo.objects.filter(organisation=organisation, deleted_at=None))),
    "alert_channels": ("alert_channel", _by(telling.channels_written)),
    "notification_policies": ("notification_policy", _of(NotificationPolicy)),
    "captures": ("capture", samples.ids_of),
    "redactions": ("redaction", samples.redaction_ids),
    "saved_views": ("saved_view", views.ids_of),
}
"""List of the document -> what the audit calls one of its things, and their ids."""


def listed(organisation: Organisation, draft: Draft, after: Document) -> Iterator[Listed]:
    """Everything that the document lists and that is there now. after: the organisation's config once it was applied."""
    for section, (kind, ids) in THINGS.items():
        entries = [entry for entry in getattr(draft.document, section) if not getattr(entry, "absent", False)]
        if not entries:
            continue
        known, stands = ids(organisation), {entry.name: entry for entry in getattr(after, section)}
        for entry in entries:
            if entry.name in known and entry.name in stands:
                now = stands[entry.name]
                if isinstance(entry, FlagEntry):
                    now = msgspec.structs.replace(now, **{name: getattr(entry, name) for name in FLAG_STANDING})
                yield Listed(kind, known[entry.name], section, entry.name, msgspec.to_builtins(now), draft.line(draft.paths[id(entry)]))


class Documents:
    """``apps.publishing.managed.Documents``."""

    def compare(self, thing: ManagedThing) -> Comparison:
        try:
            said = msgspec.convert(thing.said, _entry_type(thing.section))
        except (KeyError, msgspec.ValidationError):  # a release that writes other entries than the one that applied it
            return Comparison(said="", now="")
        now = entry_of(thing.organisation, thing.section, thing.name)
        text = yaml_of({thing.section: [plain(said)]})
        if now is None:
            return Comparison(said=text, now=yaml_of({thing.section: [_absent(said)]}), gone=True)
        if isinstance(said, FlagEntry) and isinstance(now, FlagEntry) and said.on is None:  # how it stands is not the document's matter
            now = msgspec.structs.replace(now, **{name: getattr(said, name) for name in FLAG_STANDING})
        was, stands = leaves(plain(said, defaults=True)), leaves(plain(now, defaults=True))
        paths = [*was, *(path for path in stands if path not in was)]
        fields = tuple(FieldChange(path, was.get(path), stands.get(path)) for path in paths if was.get(path) != stands.get(path))
        return Comparison(said=text, now=yaml_of({thing.section: [plain(now)]}), fields=fields)

    def holder_of(self, organisation: Organisation, event: AuditEvent) -> tuple[str, str]:
        found = HOLDERS.get(event.subject_kind)
        return (found(organisation, event) if found is not None else None) or (event.subject_kind, event.subject_id)


Holder = Callable[[Organisation, AuditEvent], tuple[str, str] | None]


def _team_of_sla(organisation: Organisation, event: AuditEvent) -> tuple[str, str] | None:
    """By the row, or where it is deleted by its name, which begins with the team's slug."""
    pk = Sla.objects.filter(pk=event.subject_id).values_list("team_id", flat=True).first()
    if pk is None:
        pk = teams(organisation=organisation).filter(slug=event.subject_name.partition("/")[0]).values_list("pk", flat=True).first()
    return ("team", str(pk)) if pk is not None else None


def _team_of_service(organisation: Organisation, event: AuditEvent) -> tuple[str, str] | None:
    """By the row, or where it is deleted by what the event says it was."""
    pk = Service.objects.filter(pk=event.subject_id).values_list("team_id", flat=True).first()
    if pk is None and isinstance(event.before, dict):
        pk = teams(organisation=organisation).filter(slug=event.before.get("team", "")).values_list("pk", flat=True).first()
    return ("team", str(pk)) if pk is not None else None


def _slo_of_rule(organisation: Organisation, event: AuditEvent) -> tuple[str, str] | None:
    """Of the rule that watches an SLO; any other rule is a thing by itself."""
    pk = watching.slo_of_rule(organisation, event.subject_id)
    return ("slo", pk) if pk else None


HOLDERS: dict[str, Holder] = {
    "sla": _team_of_sla,
    "service": _team_of_service,
    "cell": lambda organisation, event: ("region", event.subject_id.partition("/")[0]),
    "alert_rule": _slo_of_rule,
    "price": lambda organisation, event: ("provider", event.subject_id.partition("/")[0]),
    "model": lambda organisation, event: ("provider", event.subject_id.partition("/")[0]),
}
"""Kinds of things that are a part of another thing's entry -> that one."""


def _entry_type(section: str) -> Any:
    """The type of a list's entries."""
    (found,) = get_args(get_type_hints(Document, include_extras=True)[section])
    return found


def _absent(entry: Any) -> dict[str, Any]:
    """What an entry becomes where its thing shall be gone."""
    kept: Iterable[str] = getattr(type(entry), "IDENTITY", ("name",))
    values = plain(entry)
    values.pop("reason", None)
    return {**({name: values[name] for name in kept if name in values} if kept else values), "absent": True}


DOCUMENTS = Documents()
