"""People for tests of pages: a member of an organisation, and the browser of somebody who is signed in."""

from __future__ import annotations

from django.test import Client

from apps.accounts.models import Membership, Organisation, User

NAMES = {"admin": "Ada", "manager": "Mia", "on-call": "Ona", "member": "Mel", "auditor": "Aud", "viewer": "Vic"}


def member(organisation: Organisation, role: str = "admin", *, email: str = "") -> User:
    """A new person with that role; of each role and organisation one, unless ``email`` says otherwise."""
    user = User.objects.create(email=email or f"{role}-{organisation.slug}@example.test", name=NAMES[role])
    Membership.objects.create(user=user, organisation=organisation, role=role)
    return user


def client_of(user: User) -> Client:
    """A browser in which they are signed in."""
    client = Client()
    client.force_login(user)
    return client
