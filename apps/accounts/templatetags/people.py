"""How pages show people, invitations and sessions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString

from apps.accounts import people_list
from apps.accounts.models import Invitation, Membership, User
from apps.accounts.scope import Choice
from apps.ui.templatetags.ui import status

register = template.Library()

BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"), ("curl/", "curl"))
SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


@register.inclusion_tag("settings/tabs.html")
def settings_tabs(choice: Choice, tab: str) -> dict[str, Any]:
    """The parts of Settings that the person may see, the current one marked."""
    return {
        "tab": tab,
        "may_people": choice.may_installation("user.view"),
        "may_see_installation": choice.may_installation("installation.view"),
    }


@register.simple_tag
def person_state(person: User) -> SafeString:
    """A person's state in word, icon and colour."""
    return status(people_list.person_status(person))


@register.filter
def person_roles(person: User) -> str:
    """``admin of Main, viewer of Demo``."""
    return people_list.roles_text(person)


@register.filter
def has_team_roles(memberships: Iterable[Membership]) -> bool:
    """Whether any of these memberships (``with_teams``) has a role in a team."""
    return any(row.held_in_teams for row in memberships)


@register.filter
def expired(invitation: Invitation) -> bool:
    """Whether an invitation's link opens nothing any more."""
    return invitation.expires_at <= timezone.now()


@register.filter
def browser_name(agent: str) -> str:
    """What a person would call the browser: ``Firefox on Linux``; what is not known as it is, shortened."""
    browser = next((name for mark, name in BROWSERS if mark in agent), "")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or re.sub(r"\s+", " ", agent)[:60] or "Unknown"
