"""Document -> services -> publish, in one transaction: all of it, or nothing.

A dry run does the same, compiles the same, and rolls back: what it shows is what would happen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from django.db import DataError, IntegrityError, transaction

from apps.accounts.models import MAIN_ORGANISATION, Organisation
from apps.accounts.selectors import organisation_get
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.contracts.fleet import deployment_of
from apps.publishing.errors import PublishError
from apps.publishing.managed import managed_set
from apps.publishing.models import Version
from apps.publishing.selectors import head_number
from apps.publishing.services import publish
from controlplane.configfile.changes import changes
from controlplane.configfile.managed import listed
from controlplane.configfile.problems import DocumentError, Problem
from controlplane.configfile.reading import Draft, read_document
from controlplane.configfile.references import References, write_secret_file
from controlplane.configfile.routing import field_of
from controlplane.configfile.steps import CHANGING, OWNERSHIP, WATCHING, Steps
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


def apply_file(
    *,
    actor: Actor,
    path: Path,
    organisation: str = "",
    dry_run: bool = False,
    reason: str = "",
    document: str = "",
    by: str = "",
) -> Outcome:
    """Apply a document, which manages what it lists from then on. organisation: slug, in place of the document's own.

    document: what it is called, also when it is applied from elsewhere next time; empty: its file's name. by: who runs it.

    Raises DocumentError with every problem found; then nothing was changed, and no file is left behind.
    """
    file = str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DocumentError(file, [Problem(0, "", f"cannot be read: {error.strerror}")]) from None
    draft = read_document(read_text(raw, file=file))
    if organisation and draft.document.organisation not in ("", organisation):
        message = f"the document is for {draft.document.organisation!r}, the command for {organisation!r}"
        draft.problems.append(Problem(draft.line("organisation"), "organisation", message))
    slug = organisation or draft.document.organisation or MAIN_ORGANISATION
    return draft_apply(
        actor=actor, draft=draft, path=path, organisation=slug, dry_run=dry_run, reason=reason or f"apply {path.name}",
        manages=Manages(document.strip()[:200] or path.name[:200], by or actor.name),
    )  # fmt: skip


class Manages(NamedTuple):
    """A document that manages what it lists. name: what it is called. by: who applied it."""

    name: str
    by: str


Beside = Callable[[Organisation], None]
"""Something done in the transaction that applies a document. It may raise DocumentError."""


def draft_apply(
    *,
    actor: Actor,
    draft: Draft,
    path: Path,
    organisation: str,
    dry_run: bool,
    reason: str,
    before: Beside | None = None,
    after: Beside | None = None,
    manages: Manages | None = None,
) -> Outcome:
    """Apply a document that was read or made already. path: of the file it came from, beside which references are looked for.

    before, after: what is done in the same transaction before the entries and after them, before all is published. manages: pages say that
    it manages what it lists; None: it only brings it.
    Raises DocumentError with every problem found; then nothing was changed, and no file is left behind.
    """
    steps = Steps(actor=actor, references=References(path.absolute().parent), reason=reason)
    run = _Run(steps=steps, draft=draft, beside=(before, after), manages=manages)
    outcome = Outcome(lines=[], version=None, shown=[], written=[])
    try:
        with transaction.atomic():
            _apply(run, organisation, outcome, file=str(path), dry_run=dry_run)
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
    first, last = run.beside
    if first is not None:
        first(organisation)
    before = document_of(organisation)
    run.all(organisation)
    if last is not None and not run.draft.problems:
        last(organisation)
    if run.draft.problems:
        raise DocumentError(file, run.draft.problems)
    try:
        outcome.version = publish(actor=run.steps.actor, reason=run.steps.reason)
    except PublishError as error:
        path = run.steps.objects.get((error.section, error.object_id), "")
        if path and error.section == "routes" and error.field:
            path = f"{path}.{field_of(error.field)}"
        raise DocumentError(file, [Problem(run.draft.line(path), path, error.message)]) from None
    after = document_of(organisation)
    outcome.lines = changes(before, after, new_values=run.steps.new_values)
    if dry_run:
        raise _DryRun
    if run.manages is not None:
        managed_set(
            actor=run.steps.actor,
            organisation=organisation,
            document=run.manages.name,
            listed=listed(organisation, run.draft, after),
            by=run.manages.by,
            version=(outcome.version.number if outcome.version else head_number()) or None,
            reason=run.steps.reason,
        )
    for key, token, target in run.steps.generated:
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
    """One application of one document, inside its transaction: the order of its entries, and what is wrong with them."""

    def __init__(
        self,
        *,
        steps: Steps,
        draft: Draft,
        beside: tuple[Beside | None, Beside | None] = (None, None),
        manages: Manages | None = None,
    ) -> None:
        """beside: what is done before the entries, and after them. manages: as what it manages what it lists, if at all."""
        self.manages = manages
        self.steps = steps
        self.draft = draft
        self.beside = beside
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
            "teams": self.steps.team,
            **{kind: partial(self.steps.of_ownership, kind) for kind in OWNERSHIP},
            "credentials": self.steps.credential,
            "providers": self.steps.provider,
            "discounts": self.steps.discount,
            "unit_prices": self.steps.unit_price,
            "gpu_prices": self.steps.gpu_price,
            "deployments": self.steps.deployment,
            "routes": self.steps.route,
            "keys": self.steps.key,
            "key_templates": self.steps.key_template,
            "budgets": self.steps.budget,
            "limits": self.steps.limit,
            "performance_budgets": self.steps.performance_budget,
            "flags": self.steps.flag,
            **{kind: partial(self.steps.of_changing, kind) for kind in CHANGING},
            "alert_channels": self.steps.alert_channel,
            **{kind: partial(self.steps.of_watching, kind) for kind in WATCHING},
        }
        removals: dict[str, Callable[[Organisation, Any], None]] = {
            **{kind: partial(self.steps.remove_of_watching, kind) for kind in reversed(WATCHING)},
            "alert_channels": self.steps.remove_alert_channel,
            **{kind: partial(self.steps.remove_of_changing, kind) for kind in reversed(CHANGING)},
            "flags": self.steps.remove_flag,
            "performance_budgets": self.steps.remove_performance_budget,
            "limits": self.steps.remove_limit,
            "budgets": self.steps.remove_budget,
            "key_templates": self.steps.remove_key_template,
            "keys": self.steps.remove_key,
            "routes": self.steps.remove_route,
            "deployments": self.steps.remove_deployment,
            "discounts": self.steps.remove_discount,
            "unit_prices": self.steps.remove_unit_price,
            "gpu_prices": self.steps.remove_gpu_price,
            "providers": self.steps.remove_provider,
            "credentials": self.steps.remove_credential,
            **{kind: partial(self.steps.remove_of_ownership, kind) for kind in OWNERSHIP},
            "teams": self.steps.remove_team,
        }
        tasks: list[_Task] = []
        for kind, step in steps.items():
            for entry in getattr(self.draft.document, kind):
                self.by_name[kind, entry.name] = entry
                if not getattr(entry, "absent", False):
                    tasks.append(_Task(kind, entry, partial(step, organisation, entry, self.draft.paths[id(entry)])))
        for named in self.draft.document.deployments:  # performance budgets may be of routes, which target deployments
            if named.performance_budget and not named.absent:
                tasks.append(_Task("deployments", named, partial(self.steps.deployment_link, organisation, named)))
        for kind, remove in removals.items():
            for entry in getattr(self.draft.document, kind):
                if entry.absent:
                    tasks.append(_Task(kind, entry, partial(remove, organisation, entry if kind in CHANGING else entry.name)))
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


def _parents(rules: Mapping[str, Any]) -> Iterator[str]:
    """Flags that a flag's rules depend on; what is no rule is told by the flag's own step."""
    listed = rules.get("dependencies")
    for parent in listed if isinstance(listed, list) else ():
        if isinstance(parent, dict) and isinstance(parent.get("feature"), str):
            yield parent["feature"]


def _told(steps: list[str]) -> Iterator[tuple[str, str]]:
    """Channels and rotations that a policy's steps name; what is no step is told by the policy's own."""
    for step in steps:
        _, _, rest = step.partition(" ")
        target, _, name = rest.strip().partition(" ")
        if name:
            yield ("alert_channels" if target == "channel" else "rotations"), name.strip()


def _needs(kind: str, entry: Any) -> Iterator[tuple[str, str]]:
    """What an entry refers to, as (list's name, entry's name)."""
    if kind == "providers":
        yield from (("credentials", endpoint.credential) for endpoint in entry.endpoints)
        yield from (("credentials", member.name) for endpoint in entry.endpoints for member in endpoint.credentials)
        yield "teams", entry.owner
    elif kind == "regions":
        yield from (("layers", owner.layer) for owner in entry.owners)
        yield from (("teams", owner.team) for owner in entry.owners)
    elif kind in ("rotations", "runbooks"):
        yield "teams", entry.team if kind == "rotations" else entry.owner
    elif kind == "routes":
        yield from (("providers", target.provider) for target in [*entry.targets, *entry.fallback])
        yield from (("deployments", deployment_of(target.provider)) for target in [*entry.targets, *entry.fallback])
        if entry.resilience.mirror is not None:
            yield "providers", entry.resilience.mirror.target.provider
        yield "providers", entry.default_price.partition("/")[0]
        yield from (("teams", entry.owner), ("runbooks", entry.runbook))
    elif kind == "deployments":
        yield "teams", entry.owner
    elif kind in ("discounts", "unit_prices"):
        yield "providers", entry.provider
    elif kind == "keys":
        yield "teams", entry.team or entry.service.partition("/")[0]
    elif kind == "key_templates":
        yield "teams", entry.name
    elif kind == "budgets":
        yield from (("keys", entry.key), ("teams", entry.team or entry.service.partition("/")[0]), ("teams", entry.owned_by))
        yield from (("routes", entry.route), ("providers", entry.provider))
    elif kind == "limits":
        yield from (("keys", entry.key), ("teams", entry.team), ("routes", entry.route), ("teams", entry.owned_by))
    elif kind in ("alert_rules", "slos"):
        yield from (("teams", entry.owner), ("runbooks", entry.runbook))
        if entry.by == "key":
            yield from (("keys", name) for name in (entry.values if kind == "alert_rules" else [entry.subject]))
    elif kind == "alert_channels":
        yield "teams", entry.team
    elif kind == "notification_policies":
        yield "teams", entry.team
        yield from _told(entry.steps)
    elif kind == "captures":
        yield "routes", entry.route
    elif kind == "saved_views":
        yield "teams", entry.name.partition("/")[0]
    elif kind == "performance_budgets":
        yield "routes", entry.route
    elif kind == "flags":
        yield from (("routes", entry.route), ("providers", entry.provider), ("keys", entry.key), ("teams", entry.owner))
        yield "teams", entry.team
        yield from (("flags", parent) for parent in _parents(entry.rules))
    elif kind == "two_person_rules":
        yield "teams", entry.team
    elif kind == "schedules":
        yield "flags", entry.flag
