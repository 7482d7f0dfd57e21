"""Keys by the thousand: all of a file or none, with a report on every row.

Invariant: after an import every row of its file has exactly one active key of its name, and a row that was there already with the same
secret is left as it is; so the same file twice is once. With one problem anywhere nothing is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import transaction

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.services import Recorded, audit_record_many
from apps.contracts.tokens import new_token
from apps.keys import handovers
from apps.keys.holders import holder_of
from apps.keys.import_reading import KeyRow
from apps.keys.models import KeyDigest, KeyHandover, VirtualKey
from apps.keys.neighbours import KeyWalls, walls_set
from apps.keys.services import key_digest, key_facts
from apps.ownership.models import Service, Team
from apps.publishing.services import section_touch

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

BATCH = 2_000


@dataclass(slots=True)
class Reported:
    """What becomes of one row. state: ``new``, ``kept`` (there already) or ``refused``."""

    row: KeyRow
    state: str
    words: str


@dataclass(slots=True)
class Report:
    """rows: in the file's order. handover: where the secrets of new keys wait, None where there are none or nothing was done."""

    rows: list[Reported] = field(default_factory=list)
    handover: KeyHandover | None = None

    def count(self, state: str) -> int:
        return sum(reported.state == state for reported in self.rows)

    @property
    def refused(self) -> bool:
        return any(reported.state == "refused" for reported in self.rows)

    @property
    def summary(self) -> str:
        """``2 new, 1 there already, 3 refused``."""
        parts = ((self.count("new"), "new"), (self.count("kept"), "there already"), (self.count("refused"), "refused"))
        return ", ".join(f"{count} {words}" for count, words in parts if count) or "nothing"


@transaction.atomic
def keys_import(*, actor: Actor, organisation: Organisation, rows: Sequence[KeyRow], dry_run: bool = False, reason: str = "") -> Report:
    """Make the keys of a file. dry_run: only say what would become of each row. Where a row is refused nothing is done.

    Keys without a ``sha256`` get new secrets, which wait for the importing person in the report's handover; operators at the shell
    fetch them there as well. Raises PermissionRefused.
    """
    permission_require(actor=actor, action="key.import", organisation=organisation)
    if not dry_run:  # two imports of one organisation take turns, so that what is judged here is what is there
        type(organisation).objects.select_for_update().get(pk=organisation.pk)
    report, owners = _judge(organisation, rows)
    new = [reported.row for reported in report.rows if reported.state == "new"]
    if dry_run or report.refused or not new:
        return report
    keys: list[VirtualKey] = []
    digests: list[KeyDigest] = []
    secrets: list[tuple[VirtualKey, str]] = []
    walls: list[KeyWalls] = []
    for row in new:
        public_id, token = new_token()
        service, team = owners[row.line]
        key = VirtualKey(organisation=organisation, name=row.name, public_id=public_id, service=service, team=team, **row.facts)
        keys.append(key)
        key.holder_id = "" if row.sha256 else holder_of(actor)
        if row.sha256:
            digests.append(KeyDigest(key=key, digest=row.sha256, kind="sha256"))
        else:
            digests.append(KeyDigest(key=key, digest=key_digest(token)))
            secrets.append((key, token))
        walls.append(KeyWalls(str(key.pk), key.name, public_id, row.limits, row.budget_nano, row.budget_window))
    VirtualKey.objects.bulk_create(keys, batch_size=BATCH)
    KeyDigest.objects.bulk_create(digests, batch_size=BATCH)
    audit_record_many(
        actor=actor,
        action="key.create",
        events=[Recorded(str(key.pk), key.name, after={"public_id": key.public_id, **key_facts(key)}) for key in keys],
        reason=reason or "imported",
    )
    section_touch(section="keys", ids=[key.pk for key in keys])
    walls_set(actor=actor, organisation=organisation, walls=walls, reason=reason or "imported")
    if secrets:
        report.handover = handovers.handover_create(actor=actor, organisation=organisation, secrets=secrets, person_id=actor.id)
    return report


Owners = dict[int, tuple[Service | None, Team | None]]


def _judge(organisation: Organisation, rows: Sequence[KeyRow]) -> tuple[Report, Owners]:
    """What becomes of each row, and who owns it: five queries, however many rows."""
    teams = {team.slug: team for team in Team.objects.filter(organisation=organisation)}
    services = {
        f"{service.team.slug}/{service.slug}": service
        for service in Service.objects.filter(team__organisation=organisation).select_related("team")
    }
    taken = dict(
        VirtualKey.objects.filter(organisation=organisation, state="active", name__in=[row.name for row in rows]).values_list("name", "pk")
    )
    opened: dict[str, Any] = {
        digest: (key, name, state)
        for digest, key, name, state in KeyDigest.objects.filter(digest__in=[row.sha256 for row in rows if row.sha256]).values_list(
            "digest", "key_id", "key__name", "key__state"
        )
    }
    own = set(
        VirtualKey.objects.filter(pk__in=[key for key, _, _ in opened.values()], organisation=organisation).values_list("pk", flat=True)
    )
    report, owners = Report(), Owners()
    for row in rows:
        problems = list(row.problems)
        service, team = services.get(row.service), teams.get(row.team)
        if row.service and service is None:
            problems.append(("service", f"there is no service {row.service!r}: add it first"))
        elif row.team and team is None:
            problems.append(("team", f"there is no team {row.team!r}: add it first"))
        owners[row.line] = (service, None if service else team)
        here = taken.get(row.name)
        holder = opened.get(row.sha256) if row.sha256 else None
        if holder is not None and holder[0] not in own:
            problems.append(("sha256", "this secret opens another key of this installation already"))
        elif holder is not None and (holder[0] != here or holder[2] != "active"):
            how = "was revoked with" if holder[2] == "revoked" else "opens"
            problems.append(("sha256", f"this secret {how} the key {holder[1]!r}"))
        elif here is not None and holder is None:
            problems.append(("name", "a key of this name exists: choose another name, or revoke that one first"))
        if problems:
            report.rows.append(Reported(row, "refused", "; ".join(f"{column}: {words}" for column, words in problems)))
        elif here is not None:
            report.rows.append(Reported(row, "kept", "there already with this secret: left as it is"))
        else:
            report.rows.append(Reported(row, "new", "keeps its secret" if row.sha256 else "gets a new secret"))
    return report, owners
