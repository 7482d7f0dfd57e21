"""Who may do what: one table, asked through ``apps.accounts.selectors.permitted`` and ``permission_require``.

An action is ``<subject>.<verb>``, the same text that the audit stores. A new action is a new row here; an action without a
row is refused loudly, so that a misspelt one cannot slip through.
"""

from __future__ import annotations

from enum import StrEnum

from apps.audit.errors import ServiceError


class Role(StrEnum):
    """A person's role in one organisation, strongest first."""

    ADMIN = "admin"
    VIEWER = "viewer"


RANK = {Role.ADMIN: 0, Role.VIEWER: 1}

_ADMINS = frozenset({Role.ADMIN})
_EVERYONE = frozenset(Role)

PERMISSIONS: dict[str, frozenset[Role]] = {
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
    "flag.view": _EVERYONE,
    "team.view": _EVERYONE,
    "config.view": _EVERYONE,
    "audit.view": _ADMINS,
    # changing what proxies do
    "provider.change": _ADMINS,
    "credential.change": _ADMINS,
    "price.change": _ADMINS,
    "route.change": _ADMINS,
    "key.create": _ADMINS,
    "key.change": _ADMINS,
    "key.revoke": _ADMINS,
    "key.reveal": _ADMINS,
    "budget.change": _ADMINS,
    "limit.change": _ADMINS,
    "anomaly.acknowledge": _ADMINS,
    "performance_budget.change": _ADMINS,
    "reconciliation.change": _ADMINS,
    "weekly.send": _ADMINS,
    "flag.change": _ADMINS,
    "config.publish": _ADMINS,
    "config.rollback": _ADMINS,
    # people and ownership
    "team.change": _ADMINS,
    "service.change": _ADMINS,
    "user.view": _EVERYONE,
    "user.change": _ADMINS,
    "organisation.change": _ADMINS,
    "installation.view": _ADMINS,
}


class PermissionRefused(ServiceError):
    """The actor's role does not allow the action; the message says which role may."""

    def __init__(self, action: str, *, organisation: str = "") -> None:
        where = f" in organisation {organisation!r}" if organisation else ""
        super().__init__(
            f"You may not do this ({action}){where}: it takes the role {roles_text(action)}. Ask an admin to do it or to change your role."
        )
        self.action = action


def roles_for(action: str) -> frozenset[Role]:
    """The roles that may do ``action``. Raises LookupError for an action without a row."""
    try:
        return PERMISSIONS[action]
    except KeyError:
        raise LookupError(f"no permission is defined for action {action!r}: add a row to PERMISSIONS in apps/accounts/rules.py") from None


def roles_text(action: str) -> str:
    """The roles that may do ``action``, strongest first, for people: ``admin or viewer``."""
    return " or ".join(role.value for role in sorted(roles_for(action), key=RANK.__getitem__))
