"""Who may do what: one table, asked through ``apps.accounts.selectors.permitted`` and ``permission_require``.

An action is ``<subject>.<verb>``, the same text that the audit stores. A new action is a new row here; an action without a
row is refused loudly, so that a misspelt one cannot slip through.

A person has one role in an organisation, and may have one more in each of its teams. A row says which roles in the organisation
may do it, and which roles in the team that owns the thing may do it to that thing: whoever may by either, may.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from apps.audit.errors import ServiceError


class Role(StrEnum):
    """A person's role in one organisation or in one team, strongest first; what each may do is ``PERMISSIONS``."""

    ADMIN = "admin"
    MANAGER = "manager"
    ONCALL = "on-call"
    MEMBER = "member"
    AUDITOR = "auditor"
    VIEWER = "viewer"


RANK = {role: place for place, role in enumerate(Role)}

ROLE_HELP: dict[Role, str] = {
    Role.ADMIN: "changes everything",
    Role.MANAGER: "sets budgets, limits and ownership, makes keys, approves",
    Role.ONCALL: "flips flags, forces breakers, switches routes, revokes keys",
    Role.MEMBER: "looks, asks for keys, makes them inside the bounds of their teams",
    Role.AUDITOR: "looks at everything, the audit and its exports too; changes nothing",
    Role.VIEWER: "looks",
}
"""What a role is for, in a few words, for the pages where one is chosen."""

TEAM_ROLES: tuple[Role, ...] = (Role.ADMIN, Role.MANAGER, Role.ONCALL, Role.MEMBER)
"""Roles that a person may have in a team. Looking is a matter of the organisation, so a team has no auditors and viewers."""


@dataclass(frozen=True, slots=True)
class Row:
    """Who may do one action.

    organisation: roles in the organisation that may. team: roles in the team that owns the thing that may as well.
    """

    organisation: frozenset[Role]
    team: frozenset[Role] = frozenset()


def _row(*organisation: Role, team: tuple[Role, ...] = ()) -> Row:
    return Row(frozenset(organisation), frozenset(team))


_RUN = (Role.ADMIN, Role.MANAGER, Role.ONCALL)
_LEAD = (Role.ADMIN, Role.MANAGER)
_WORK = (*_RUN, Role.MEMBER)

_EVERYONE = _row(*Role)
_READERS = _row(Role.ADMIN, Role.AUDITOR)
_ADMINS = _row(Role.ADMIN)
_OWNING_ADMINS = _row(Role.ADMIN, team=(Role.ADMIN,))
_MANAGERS = _row(*_LEAD)
_OWNING_MANAGERS = _row(*_LEAD, team=_LEAD)
_ONCALL = _row(*_RUN, team=_RUN)
_MEMBERS = _row(*_WORK, team=_WORK)

PERMISSIONS: dict[str, Row] = {
    # reading
    "overview.view": _EVERYONE,
    "request.view": _EVERYONE,
    "usage.view": _EVERYONE,
    "provider.view": _EVERYONE,
    "route.view": _EVERYONE,
    "key.view": _EVERYONE,
    "budget.view": _EVERYONE,
    "limit.view": _EVERYONE,
    "performance_budget.view": _EVERYONE,
    "alert.view": _EVERYONE,
    "incident.view": _EVERYONE,
    "postmortem.view": _EVERYONE,
    "flag.view": _EVERYONE,
    "change.view": _EVERYONE,
    "team.view": _EVERYONE,
    "ownership.view": _EVERYONE,
    "config.view": _EVERYONE,
    "capture.view": _EVERYONE,
    "worker.view": _EVERYONE,
    "deployment.view": _EVERYONE,
    "sample.view": _row(*_RUN, Role.AUDITOR),
    "audit.view": _READERS,
    "audit.export": _READERS,
    # what the on-call does: each is undone as fast as it is done
    "flag.flip": _ONCALL,
    "breaker.force": _ONCALL,
    "route.switch": _ONCALL,
    "key.revoke": _ONCALL,
    "worker.drain": _ONCALL,
    "deployment.scale": _ONCALL,
    "breakglass.use": _ONCALL,
    "alert.acknowledge": _ONCALL,
    "silence.change": _ONCALL,
    "provider_note.change": _ONCALL,
    "incident.declare": _row(*_WORK),
    "incident.note": _row(*_WORK),
    "incident.change": _row(*_RUN),
    "checklist.run": _row(*_WORK),
    # what is learnt from them: everybody who works here writes, two pairs of eyes publish
    "postmortem.change": _row(*_WORK),
    "postmortem.sign": _row(*_WORK),
    "action_item.change": _row(*_WORK),
    # asking, and saying yes
    "change.request": _MEMBERS,
    "change.approve": _OWNING_MANAGERS,
    "breakglass.review": _OWNING_MANAGERS,
    "key.request": _MEMBERS,
    "key.approve": _OWNING_MANAGERS,
    # changing what proxies do
    "worker.join": _ADMINS,
    "deployment.change": _OWNING_ADMINS,
    "provider.change": _OWNING_ADMINS,
    "credential.change": _ADMINS,
    "price.change": _ADMINS,
    "route.change": _OWNING_ADMINS,
    "key.create": _row(*_LEAD, team=_WORK),
    "playground.use": _row(*_RUN, team=_WORK),
    "key.change": _OWNING_MANAGERS,
    # a key whose secret one was shown, while it lies inside the bounds of the team that owns it
    "own_key.rotate": _row(*_LEAD, team=_WORK),
    "own_key.revoke": _row(*_RUN, team=_WORK),
    "key.import": _ADMINS,
    "key.reveal": _ADMINS,
    "key_template.change": _MANAGERS,
    "budget.change": _OWNING_MANAGERS,
    "limit.change": _MANAGERS,
    "anomaly.acknowledge": _row(*_RUN),
    "alert_rule.change": _OWNING_MANAGERS,
    "alert_channel.change": _OWNING_MANAGERS,
    "alert_channel.own": _MEMBERS,
    "notification_policy.change": _OWNING_MANAGERS,
    "slo.change": _OWNING_MANAGERS,
    "incident_severity.change": _MANAGERS,
    "postmortem_template.change": _MANAGERS,
    "status_page.change": _MANAGERS,
    "incident_chat.change": _ADMINS,
    "performance_budget.change": _MANAGERS,
    "reconciliation.change": _MANAGERS,
    "weekly.send": _MANAGERS,
    "saved_view.share": _MEMBERS,
    "saved_view.remove": _OWNING_MANAGERS,
    "capture.change": _MANAGERS,
    "flag.change": _OWNING_MANAGERS,
    "config.publish": _ADMINS,
    "config.override": _MANAGERS,
    "config.rollback": _ADMINS,
    # people and ownership
    "team.change": _OWNING_MANAGERS,
    "team.delete": _MANAGERS,
    "team_member.change": _row(Role.ADMIN, team=_LEAD),
    "service.change": _OWNING_MANAGERS,
    "ownership.change": _OWNING_MANAGERS,
    "sla.change": _OWNING_MANAGERS,
    "rotation.change": _OWNING_MANAGERS,
    "rotation.override": _ONCALL,
    "runbook.change": _ONCALL,
    "user.view": _EVERYONE,
    "user.change": _ADMINS,
    "organisation.change": _ADMINS,
    "installation.view": _READERS,
    "retention.change": _ADMINS,
}


class PermissionRefused(ServiceError):
    """The actor's role does not allow the action; the message says which role may."""

    def __init__(self, action: str, *, organisation: str = "") -> None:
        where = f" in organisation {organisation!r}" if organisation else ""
        super().__init__(
            f"You may not do this ({action}){where}: it takes the role {roles_text(action)}. Ask an admin to do it or to change your role."
        )
        self.action = action


def row_for(action: str) -> Row:
    """Who may do ``action``. Raises LookupError for an action without a row."""
    try:
        return PERMISSIONS[action]
    except KeyError:
        raise LookupError(f"no permission is defined for action {action!r}: add a row to PERMISSIONS in apps/accounts/rules.py") from None


def roles_for(action: str) -> frozenset[Role]:
    """The roles in the organisation that may do ``action``. Raises LookupError for an action without a row."""
    return row_for(action).organisation


def team_roles_for(action: str) -> frozenset[Role]:
    """The roles in the owning team that may do ``action`` to what the team owns. Raises LookupError for an action without a row."""
    return row_for(action).team


def roles_text(action: str) -> str:
    """Who may do ``action``, strongest first, for people: ``admin or manager, or manager in the team that owns it``."""
    row = row_for(action)
    text = _joined(row.organisation)
    return f"{text}, or {_joined(row.team)} in the team that owns it" if row.team else text


def _joined(roles: frozenset[Role]) -> str:
    words = [role.value for role in sorted(roles, key=RANK.__getitem__)]
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
