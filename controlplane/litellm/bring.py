"""All of a LiteLLM proxy at once: one transaction, one version, or nothing.

Doing it again makes what the files name as the files say and adds nothing: names are made of the files alone, and a key whose secret
is here already is left as it is.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from apps.accounts.models import Organisation
from apps.accounts.selectors import organisation_get
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.keys.bulk import Report, keys_import
from apps.keys.neighbours import routes_known
from apps.providers.selectors import credentials_of
from apps.providers.services import credential_set
from controlplane.configfile.apply import Outcome, draft_apply
from controlplane.configfile.document import Document
from controlplane.configfile.problems import DocumentError, Problem
from controlplane.configfile.reading import draft_of
from controlplane.litellm.notes import Notes
from controlplane.litellm.people import People, people
from controlplane.litellm.providers import Providers
from controlplane.litellm.reading import read_config, read_tables
from controlplane.litellm.routes import Groups, routes


class Brought(msgspec.Struct):
    """outcome: what applying the document did, or would do. keys: what became of each key, None without an export of them."""

    outcome: Outcome
    document: Document
    keys: Report | None
    notes: Notes


def bring(
    *, actor: Actor, config_file: Path, keys_file: Path | None = None, organisation: str, dry_run: bool = False, reason: str = ""
) -> Brought:
    """Bring it over. Raises DocumentError with every problem found; then nothing was changed."""
    notes = Notes()
    config = read_config(config_file)
    home = organisation_get(slug=organisation)
    kept = frozenset(credentials_of(home).values_list("name", flat=True)) if home is not None else frozenset()
    providers = Providers(config, notes, kept=kept)
    groups = Groups(config, providers, notes)
    document = Document(
        organisation=organisation,
        credentials=providers.credentials,
        providers=providers.providers,
        routes=routes(config, groups, notes),
        limits=list(groups.limits()),
    )
    found = People()
    if keys_file is not None:
        names = {name for route in document.routes for name in (route.name, *route.aliases)}
        if home is not None:
            names |= {name for route in routes_known(home) for name in route.names}
        found = people(read_tables(keys_file), notes, routes=frozenset(names))
    document.teams, document.budgets = found.teams, found.budgets
    document.limits += found.limits
    why = reason or f"brought over from LiteLLM by {config_file.name}"
    report: list[Report] = []

    def literals_set(home: Organisation) -> None:
        for name, value in providers.literal.items():
            try:
                credential_set(actor=actor, organisation=home, name=name, value=value, reason=why)
            except ServiceError as error:
                raise DocumentError(str(config_file), [Problem(0, f"the api_key of {name}", error.message)]) from None

    def keys_take(home: Organisation) -> None:
        report.append(keys_import(actor=actor, organisation=home, rows=found.rows, reason=why))
        if report[0].refused:
            raise DocumentError(
                str(keys_file),
                [Problem(0, f"key {row.row.name}", row.words) for row in report[0].rows if row.state == "refused"],
            )

    outcome = draft_apply(
        actor=actor,
        draft=draft_of(document),
        path=config_file,
        organisation=organisation,
        dry_run=dry_run,
        reason=why,
        before=literals_set,
        after=keys_take if found.rows else None,
    )
    return Brought(outcome=outcome, document=document, keys=report[0] if report else None, notes=notes)
