"""Document -> services -> publish, in one transaction: all of it, or nothing.

A dry run does the same, compiles the same, and rolls back: what it shows is what would happen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from zoneinfo import available_timezones

import msgspec
from django.db import DataError, IntegrityError, transaction

from apps.accounts.models import MAIN_ORGANISATION, Organisation
from apps.accounts.selectors import organisation_get
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.budgets.selectors import budgets_of
from apps.budgets.services import budget_delete, budget_set
from apps.contracts.snapshot import Deadlines
from apps.flags.selectors import flags_of
from apps.flags.services import flag_delete, flag_set
from apps.keys.selectors import key_named, keys_of
from apps.keys.services import key_create, key_digest, key_import, key_revoke, key_token_replace, key_update
from apps.ownership.models import Service, Team
from apps.ownership.selectors import service_get, team_get
from apps.ownership.services import service_ensure, team_ensure
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.selectors import credentials_of, provider_named, providers_of
from apps.providers.services import credential_delete, credential_set, provider_delete, provider_ensure
from apps.publishing.errors import PublishError
from apps.publishing.models import Version
from apps.publishing.services import publish
from apps.routes.selectors import route_named, routes_of
from apps.routes.services import route_delete, route_ensure
from controlplane.configfile import document as doc
from controlplane.configfile.changes import changes
from controlplane.configfile.problems import DocumentError, Problem
from controlplane.configfile.reading import Draft, read_document
from controlplane.configfile.references import ReferenceRefused, References, write_secret_file
from controlplane.configfile.routing import field_of, resilience_of_entry, spec_of_entry
from controlplane.configfile.text import read_text
from controlplane.configfile.writing import document_of


class Outcome(msgspec.Struct):
    """What applying did, or would do.

    lines: the diff. version: what was published, None where no proxy sees a difference.
    shown: (key's name, token) of keys without a file: the only time they can be shown. written: files of generated keys.
    """

    lines: list[str]
    version: Version | None
    shown: list[tuple[str, str]]
    written: list[Path]


class _DryRun(Exception):
    """Rolls the transaction back after everything went well."""


def apply_file(*, actor: Actor, path: Path, organisation: str = "", dry_run: bool = False, reason: str = "") -> Outcome:
    """Apply a document. organisation: slug, in place of the document's own.

    Raises DocumentError with every problem found; then nothing was changed, and no file is left behind.
    """
    file = str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DocumentError(file, [Problem(0, "", f"cannot be read: {error.strerror}")]) from None
    draft = read_document(read_text(raw, file=file))
    run = _Run(actor=actor, draft=draft, references=References(path.absolute().parent), reason=reason or f"apply {path.name}")
    slug = organisation or draft.document.organisation or MAIN_ORGANISATION
    if organisation and draft.document.organisation not in ("", organisation):
        message = f"the document is for {draft.document.organisation!r}, the command for {organisation!r}"
        run.problem("organisation", message)
    outcome = Outcome(lines=[], version=None, shown=[], written=[])
    try:
        with transaction.atomic():
            _apply(run, slug, outcome, file=file, dry_run=dry_run)
    except _DryRun:
        pass
    except BaseException:
        for written in outcome.written:
            written.unlink(missing_ok=True)
        raise
    return outcome


def _apply(run: _Run, slug: str, outcome: Outcome, *, file: str, dry_run: bool) -> None:
    organisation = organisation_get(slug=slug)
    if organisation is None:
        known = ", ".join(Organisation.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
        run.problem("organisation", f"there is no organisation {slug!r}; there are: {known}")
        raise DocumentError(file, run.draft.problems)
    # Documents of one organisation are applied one after the other; routes' services take the same lock.
    organisation = Organisation.objects.select_for_update().get(pk=organisation.pk)
    before = document_of(organisation)
    run.all(organisation)
    if run.draft.problems:
        raise DocumentError(file, run.draft.problems)
    try:
        outcome.version = publish(actor=run.actor, reason=run.reason)
    except PublishError as error:
        path = run.objects.get((error.section, error.object_id), "")
        if path and error.section == "routes" and error.field:
            path = f"{path}.{field_of(error.field)}"
        raise DocumentError(file, [Problem(run.draft.line(path), path, error.message)]) from None
    outcome.lines = changes(before, document_of(organisation), new_values=run.new_values)
    if dry_run:
        raise _DryRun
    for key, token, target in run.generated:
        if target is None:
            outcome.shown.append((key, token))
            continue
        try:
            write_secret_file(target, token)
        except OSError as error:
            path = run.draft.paths.get(id(run.by_name["keys", key]), "")
            problem = f"the generated key cannot be written to {os.path.relpath(target)}: {error.strerror}"
            raise DocumentError(file, [Problem(run.draft.line(f"{path}.secret"), f"{path}.secret", problem)]) from None
        outcome.written.append(target)


class _Task(NamedTuple):
    """One entry and what applies it. kind: its list's name."""

    kind: str
    entry: Any
    run: Callable[[], None]


class _Run:
    """One application of one document, inside its transaction."""

    def __init__(self, *, actor: Actor, draft: Draft, references: References, reason: str) -> None:
        self.actor = actor
        self.draft = draft
        self.references = references
        self.reason = reason
        self.generated: list[tuple[str, str, Path | None]] = []
        self.new_values: dict[tuple[str, str], str] = {}
        self.objects: dict[tuple[str, str], str] = {}
        """(section, object id) -> path, for what publishing says about an object."""
        self.by_name: dict[tuple[str, str], Any] = {}

    def problem(self, path: str, message: str) -> None:
        self.draft.problems.append(Problem(self.draft.line(path), path, message))

    def all(self, organisation: Organisation) -> None:
        """Every entry: dependencies first, removals last, dependents first. What is refused is tried again after the
        others, because one entry may need another first (a name to become free), until a round brings nothing."""
        tasks = self.tasks(organisation)
        while tasks:
            refused = [(task, problem) for task in tasks if (problem := self.attempt(task)) is not None]
            if len(refused) in (0, len(tasks)):
                break
            tasks = [task for task, _ in refused]
        else:
            return
        self.draft.failed |= {(task.kind, task.entry.name) for task, _ in refused}
        for task, problem in refused:
            # An entry that needs one with a problem of its own is passed over: its problem may only be the other's.
            if not any(needed in self.draft.failed for needed in _needs(task.kind, task.entry)):
                self.draft.problems.append(problem)

    def tasks(self, organisation: Organisation) -> list[_Task]:
        steps: dict[str, Callable[[Organisation, Any, str], None]] = {
            "teams": self.team,
            "credentials": self.credential,
            "providers": self.provider,
            "routes": self.route,
            "keys": self.key,
            "budgets": self.budget,
            "flags": self.flag,
        }
        removals: dict[str, Callable[[Organisation, str], None]] = {
            "flags": self.remove_flag,
            "budgets": self.remove_budget,
            "keys": self.remove_key,
            "routes": self.remove_route,
            "providers": self.remove_provider,
            "credentials": self.remove_credential,
        }
        tasks: list[_Task] = []
        for kind, step in steps.items():
            for entry in getattr(self.draft.document, kind):
                self.by_name[kind, entry.name] = entry
                if not getattr(entry, "absent", False):
                    tasks.append(_Task(kind, entry, partial(step, organisation, entry, self.draft.paths[id(entry)])))
        for kind, remove in removals.items():
            for entry in getattr(self.draft.document, kind):
                if entry.absent:
                    tasks.append(_Task(kind, entry, partial(remove, organisation, entry.name)))
        return tasks

    def attempt(self, task: _Task) -> Problem | None:
        """One entry in its own savepoint, so that a refusal leaves the others to be checked."""
        path = self.draft.paths[id(task.entry)]
        try:
            with transaction.atomic():
                task.run()
        except ServiceError as error:
            field = f"{path}.{error.field}" if error.field else path
            return Problem(self.draft.line(field), field, error.message)
        except (DataError, IntegrityError) as error:
            return Problem(self.draft.line(path), path, f"the database refused it: {str(error).splitlines()[0]}")
        return None

    # --- one step per kind -----------------------------------------------------------------------------------------------

    def team(self, organisation: Organisation, entry: doc.TeamEntry, path: str) -> None:
        with _fields({"slug": "name", "name": "title", "contact_email": "contact"}):
            team = team_ensure(
                actor=self.actor, organisation=organisation, slug=entry.name, name=entry.title or entry.name, contact_email=entry.contact
            )
        for at, service in enumerate(entry.services):
            with _fields({"slug": f"services[{at}].name", "name": f"services[{at}].title"}):
                service_ensure(actor=self.actor, team=team, slug=service.name, name=service.title or service.name)

    def credential(self, organisation: Organisation, entry: doc.CredentialEntry, path: str) -> None:
        before = credentials_of(organisation).filter(name=entry.name).first()
        if entry.secret == doc.KEPT:
            if before is None:
                raise ServiceError("there is no value to keep: give a reference, env:NAME or file:path", "secret")
            return
        credential = credential_set(
            actor=self.actor,
            organisation=organisation,
            name=entry.name,
            value=self.secret(entry.secret),
            source=entry.secret,
            reason=self.reason,
        )
        self.objects["credentials", str(credential.pk)] = path
        if before is not None and before.digest != credential.digest:
            self.new_values["credentials", entry.name] = "secret: has a new value"

    def provider(self, organisation: Organisation, entry: doc.ProviderEntry, path: str) -> None:
        provider = provider_ensure(
            actor=self.actor,
            organisation=organisation,
            name=entry.name,
            kind=entry.kind,
            endpoints=[EndpointSpec(**msgspec.structs.asdict(endpoint)) for endpoint in entry.endpoints],
            simulated=entry.simulated,
            enabled=entry.enabled,
            allow_private_addresses=entry.allow_private_addresses,
            price_list=entry.price_list,
            reason=self.reason,
        )
        self.objects["providers", str(provider.pk)] = path
        models: dict[str, list[int]] = {}
        for at, price in enumerate(entry.prices):
            models.setdefault(price.model, []).append(at)
        for model, places in models.items():
            with _below("prices", f"prices[{places[0]}]"):
                specs = [_price_spec(entry.prices[n]) for n in places if not entry.prices[n].absent]
                prices_set(actor=self.actor, provider=provider, model=model, prices=specs, reason=self.reason)
            self.objects["prices", f"{provider.pk}/{model}"] = f"{path}.prices[{places[0]}]"

    def route(self, organisation: Organisation, entry: doc.RouteEntry, path: str) -> None:
        try:
            route = route_ensure(
                actor=self.actor,
                organisation=organisation,
                name=entry.name,
                targets=[spec_of_entry(target) for target in entry.targets],
                fallback=[spec_of_entry(target) for target in entry.fallback],
                aliases=entry.aliases,
                deadlines=Deadlines(
                    connect_ms=entry.deadlines.connect,
                    first_byte_ms=entry.deadlines.first_byte,
                    idle_ms=entry.deadlines.idle,
                    total_ms=entry.deadlines.total,
                ),
                max_output_tokens=entry.max_output_tokens,
                max_attempts=entry.max_attempts,
                unpriced=entry.unpriced,
                resilience=resilience_of_entry(entry.resilience),
                owner=_team(organisation, entry.owner, "owner"),
                enabled=entry.enabled,
                reason=self.reason,
            )
        except ServiceError as error:
            _renamed(error, field_of(error.field) if error.field else None)
        self.objects["routes", str(route.pk)] = path

    def key(self, organisation: Organisation, entry: doc.KeyEntry, path: str) -> None:
        service = _service(organisation, entry.service)
        if service is not None and entry.team and entry.team != service.team.slug:
            raise ServiceError(f"the service {entry.service!r} has the team {service.team.slug!r}: leave team out", "team")
        facts: dict[str, Any] = {
            "environment": entry.environment,
            "feature": entry.feature,
            "tags": entry.tags,
            "routes": entry.routes,
            "team": None if service else _team(organisation, entry.team, "team"),
            "service": service,
            "expires_at": entry.expires_at,
            "priority": entry.priority,
            "explain": entry.explain,
            "enabled": entry.enabled,
            "reason": self.reason,
        }
        key = keys_of(organisation).filter(name=entry.name).first()
        if entry.secret == doc.KEPT:
            if key is None:
                raise ServiceError("there is no key to keep: leave secret out to generate one, or give env:NAME or file:path", "secret")
            facts["source"] = key.source
        else:
            facts["source"] = entry.secret or ""
        try:
            target = self.references.missing_file(entry.secret) if entry.secret and entry.secret != doc.KEPT else None
        except ReferenceRefused as error:
            raise ServiceError(str(error), "secret") from None
        if key is None and (entry.secret is None or target is not None):
            if target is not None and any(target == other for _, _, other in self.generated):
                raise ServiceError("another key is generated into the same file: give each its own", "secret")
            key, token = key_create(actor=self.actor, organisation=organisation, name=entry.name, **facts)
            self.generated.append((entry.name, token, target))
        elif key is None:
            key = key_import(actor=self.actor, organisation=organisation, name=entry.name, token=self.secret(entry.secret or ""), **facts)
        else:
            if target is not None:
                raise ServiceError(
                    "the key exists and its file does not: restore the file, write 'kept' to leave the key as it is, or revoke it first",
                    "secret",
                )
            if entry.secret and entry.secret != doc.KEPT:
                token = self.secret(entry.secret)
                if {row.digest for row in key.digest_rows.all()} != {key_digest(token)}:
                    key_token_replace(actor=self.actor, key=key, token=token, reason=self.reason)
                    self.new_values["keys", entry.name] = "secret: has a new value; the old one opens nothing any more"
            key = key_update(actor=self.actor, key=key, **facts)
        self.objects["keys", str(key.pk)] = path

    def budget(self, organisation: Organisation, entry: doc.BudgetEntry, path: str) -> None:
        if entry.scope == "key":
            if not entry.key:
                raise ServiceError("name the key that the budget is for", "key")
            scope_id = key_named(organisation, entry.key).pk
        else:
            if entry.key:
                raise ServiceError("a budget of the organisation is for no key: leave key out, or use scope: key", "key")
            scope_id = organisation.pk
        if entry.timezone not in available_timezones():
            raise ServiceError(f"{entry.timezone!r} is not a time zone: use a name such as UTC or Europe/Berlin", "timezone")
        with _fields({"limit_nano": "limit", "scope_id": "key"}):
            budget = budget_set(
                actor=self.actor,
                organisation=organisation,
                name=entry.name,
                scope=entry.scope,
                scope_id=str(scope_id),
                window=entry.window,
                timezone=entry.timezone,
                limit_nano=entry.limit,
                reason=self.reason,
            )
        self.objects["budgets", str(budget.pk)] = path

    def flag(self, organisation: Organisation, entry: doc.FlagEntry, path: str) -> None:
        named = [kind for kind in ("route", "provider", "key") if getattr(entry, kind)]
        if len(named) != 1:
            raise ServiceError("name exactly one of route, provider and key", named[1] if named else "kind")
        subject_id = {
            "route": lambda: route_named(organisation, entry.route).pk,
            "provider": lambda: provider_named(organisation, entry.provider).pk,
            "key": lambda: key_named(organisation, entry.key).pk,
        }[named[0]]()
        with _fields({"subject_kind": named[0], "subject_id": named[0]}):
            flag = flag_set(
                actor=self.actor,
                organisation=organisation,
                name=entry.name,
                kind=entry.kind,
                subject_kind=named[0],
                subject_id=subject_id,
                on=entry.on,
                reason=entry.reason,
                until=entry.until,
                owner=_team(organisation, entry.owner, "owner"),
                purpose=entry.purpose,
            )
        self.objects["flags", str(flag.pk)] = path

    def secret(self, reference: str) -> str:
        try:
            return self.references.value(reference)
        except ReferenceRefused as error:
            raise ServiceError(str(error), "secret") from None

    # --- removals: what is gone already stays gone ------------------------------------------------------------------------

    def remove_flag(self, organisation: Organisation, name: str) -> None:
        for flag in flags_of(organisation).filter(name=name):
            flag_delete(actor=self.actor, flag=flag, reason=self.reason)

    def remove_budget(self, organisation: Organisation, name: str) -> None:
        for budget in budgets_of(organisation).filter(name=name):
            budget_delete(actor=self.actor, budget=budget, reason=self.reason)

    def remove_key(self, organisation: Organisation, name: str) -> None:
        for key in keys_of(organisation).filter(name=name):
            key_revoke(actor=self.actor, key=key, reason=self.reason)

    def remove_route(self, organisation: Organisation, name: str) -> None:
        for route in routes_of(organisation).filter(name=name):
            route_delete(actor=self.actor, route=route, reason=self.reason)

    def remove_provider(self, organisation: Organisation, name: str) -> None:
        for provider in providers_of(organisation).filter(name=name):
            provider_delete(actor=self.actor, provider=provider, reason=self.reason)

    def remove_credential(self, organisation: Organisation, name: str) -> None:
        for credential in credentials_of(organisation).filter(name=name):
            credential_delete(actor=self.actor, credential=credential, reason=self.reason)


def _needs(kind: str, entry: Any) -> Iterator[tuple[str, str]]:
    """What an entry refers to, as (list's name, entry's name)."""
    if kind == "providers":
        yield from (("credentials", endpoint.credential) for endpoint in entry.endpoints)
    elif kind == "routes":
        yield from (("providers", target.provider) for target in [*entry.targets, *entry.fallback])
        if entry.resilience.mirror is not None:
            yield "providers", entry.resilience.mirror.target.provider
    elif kind == "keys":
        yield "teams", entry.team or entry.service.partition("/")[0]
    elif kind == "budgets":
        yield "keys", entry.key
    elif kind == "flags":
        yield from (("routes", entry.route), ("providers", entry.provider), ("keys", entry.key), ("teams", entry.owner))


def _price_spec(entry: doc.PriceEntry) -> PriceSpec:
    tiers = [{key: value for key, value in msgspec.structs.asdict(tier).items() if value is not None} for tier in entry.tiers]
    return PriceSpec(
        input=entry.input,
        output=entry.output,
        cache_read=entry.cache_read,
        cache_write=entry.cache_write,
        request=entry.request,
        tiers=tuple(tiers),
        valid_from=entry.valid_from,
        valid_to=entry.valid_to,
    )


def _team(organisation: Organisation, slug: str, field: str) -> Team | None:
    if not slug:
        return None
    team = team_get(organisation=organisation, slug=slug)
    if team is None:
        raise ServiceError(f"there is no team {slug!r}: add it under teams", field)
    return team


def _service(organisation: Organisation, text: str) -> Service | None:
    if not text:
        return None
    team, slash, slug = text.partition("/")
    if not slash:
        raise ServiceError(f"{text!r}: write a service as team/service", "service")
    service = service_get(organisation=organisation, team_slug=team, slug=slug)
    if service is None:
        raise ServiceError(f"there is no service {text!r}: add it under teams", "service")
    return service


@contextmanager
def _fields(names: dict[str, str]) -> Iterator[None]:
    """A service's field names become the document's."""
    try:
        yield
    except ServiceError as error:
        _renamed(error, names.get(error.field or "", error.field))


@contextmanager
def _below(prefix: str, path: str) -> Iterator[None]:
    """A field that a service calls ``prefix...`` is at ``path...`` in the document."""
    try:
        yield
    except ServiceError as error:
        field = error.field or ""
        _renamed(error, path + field.removeprefix(prefix) if field.startswith(prefix) else f"{path}.{field}" if field else path)


def _renamed(error: ServiceError, field: str | None) -> NoReturn:
    raise ServiceError(error.message, field) from None
