"""A form that could not be done, carried through signing in as one signed text in the page; pure but for Django's signing."""

from __future__ import annotations

from dataclasses import dataclass

from django.core import signing
from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme

SALT = "apps.accounts.carried"
LIFETIME_SECONDS = 86_400
LEFT_OUT = frozenset({"csrfmiddlewaretoken", "restored"})
SECRET_WORDS = ("password", "secret", "token", "credential", "value")


@dataclass(frozen=True, slots=True)
class Carried:
    """Where a form was sent and what was in it, in order. ``editing``: it belongs to the editing flow, which shows it again by itself."""

    path: str
    fields: tuple[tuple[str, str], ...]

    @property
    def editing(self) -> bool:
        return any(name == "submission" for name, _ in self.fields)

    @property
    def shown(self) -> list[tuple[str, str]]:
        """What a person recognises their form by; secrets and the page's own fields are left out."""
        return [
            (name, value)
            for name, value in self.fields
            if value
            and name not in ("submission", "revision", "reviewed", "next", "publish")
            and not any(word in name for word in SECRET_WORDS)
        ]


def carry(request: HttpRequest) -> str:
    """The signed text of what was sent. Files are not carried."""
    fields = [(name, value) for name, values in request.POST.lists() if name not in LEFT_OUT for value in values]
    return signing.dumps([request.get_full_path(), fields], salt=SALT, compress=True)


def carried_from(text: str) -> Carried | None:
    """What ``carry`` made; None for nothing, a changed text, or one older than a day."""
    if not text:
        return None
    try:
        path, fields = signing.loads(text, salt=SALT, max_age=LIFETIME_SECONDS)
    except signing.BadSignature:
        return None
    if not url_has_allowed_host_and_scheme(path, allowed_hosts=None):
        return None
    return Carried(path, tuple((str(name), str(value)) for name, value in fields))
