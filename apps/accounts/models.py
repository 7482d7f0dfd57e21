"""People, the organisations they belong to, and sign-in attempts."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.expressions import ArraySubquery
from django.db import models
from django.db.models.functions import JSONObject, Lower
from django.utils.crypto import salted_hmac

from apps.accounts.rules import TEAM_ROLES, Role
from apps.accounts.token_models import PersonalToken, StoredAnswer
from apps.contracts.identifiers import uuid7

__all__ = [
    "MAIN_ORGANISATION",
    "Invitation",
    "Membership",
    "Organisation",
    "PersonalToken",
    "SignInAttempt",
    "SignedInSession",
    "StoredAnswer",
    "TeamMembership",
    "User",
]

MAIN_ORGANISATION = "main"
"""Slug of the organisation that every installation has; its people run the installation itself."""


class UserManager(BaseUserManager["User"]):
    """Finds people by email, whatever its case. People are created by ``apps.accounts.services``."""

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email__iexact=username or "")


class User(AbstractBaseUser):
    """A person. Signs in with email and password; what they may do follows from memberships (``apps.accounts.rules``).

    session_epoch: part of every session's hash, so that raising it ends them all.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(max_length=254)
    name = models.CharField(max_length=200, blank=True, default="")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    session_epoch = models.PositiveIntegerField(default=0)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(Lower("email"), name="accounts_user_email", violation_error_message="This email address is taken.")
        ]

    def __str__(self) -> str:
        return self.email

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Django's own, with the epoch mixed in once it was raised: sessions from before there was one stay valid."""
        if not self.session_epoch:
            return super()._get_session_auth_hash(secret=secret)  # type: ignore[misc,no-any-return]
        return salted_hmac(
            "apps.accounts.models.User.session_epoch", f"{self.password}:{self.session_epoch}", secret=secret, algorithm="sha256"
        ).hexdigest()

    def get_short_name(self) -> str:
        return self.name.split(" ", 1)[0] if self.name else self.email.split("@", 1)[0]

    def roles_text(self) -> str:
        """The person's roles now, for the audit: ``admin of main, member of demo, on-call of demo/payments``."""
        rows = self.memberships.with_teams().select_related("organisation").order_by("organisation__slug")
        said = []
        for row in rows:
            slug = row.organisation.slug
            said += [f"{row.role} of {slug}", *(f"{held['role']} of {slug}/{held['slug']}" for held in row.held_in_teams)]
        return ", ".join(said)


class Organisation(models.Model):
    """Whose apps, keys, budgets and spend these are. ``simulated``: everything in it is a simulation; totals never mix the two."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=60, unique=True)
    simulated = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return self.name


class MembershipRows(models.QuerySet["Membership"]):
    """Memberships, with what else belongs to them where asked for."""

    def with_teams(self) -> MembershipRows:
        """Each with ``held_in_teams``: its roles in teams as ``{"team", "slug", "role"}`` (ids as text), by slug. No query more."""
        held = TeamMembership.objects.filter(membership=models.OuterRef("pk")).order_by("team_slug")
        return self.annotate(
            held_in_teams=ArraySubquery(held.values(held=JSONObject(team="team_id", slug="team_slug", role="role")).values("held"))
        )


class Membership(models.Model):
    """A person's role in an organisation."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=[(role.value, role.value) for role in Role])
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MembershipRows.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "organisation"], name="accounts_membership_once"),
            models.CheckConstraint(condition=models.Q(role__in=[role.value for role in Role]), name="accounts_membership_role"),
        ]

    def __str__(self) -> str:
        return f"{self.user} {self.role} of {self.organisation}"


class TeamMembership(models.Model):
    """One more role of a person, in one team of the organisation they belong to; goes with the membership.

    team_id, team_slug: of a team of ``apps.ownership``, which stands above; a team's slug never changes, and the audit names it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="team_memberships")
    team_id = models.UUIDField()
    team_slug = models.SlugField(max_length=60)
    role = models.CharField(max_length=20, choices=[(role.value, role.value) for role in TEAM_ROLES])
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["membership", "team_id"], name="accounts_team_membership_once"),
            models.CheckConstraint(condition=models.Q(role__in=[role.value for role in TEAM_ROLES]), name="accounts_team_membership_role"),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["team_id"], name="accounts_team_membership_team")]

    def __str__(self) -> str:
        return f"{self.role} of team {self.team_slug}"


class Invitation(models.Model):
    """A person who was asked in and has not come yet. Only a hash of the link's token is kept; it opens once, until ``expires_at``.

    roles: slug of an organisation -> role there. invited_by: as the audit names them. user: set where the person is here already
    and the link only lets them choose a new password.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(max_length=254)
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    roles = models.JSONField(default=dict)
    token_hash = models.CharField(max_length=64, unique=True)
    invited_by = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [models.UniqueConstraint(Lower("email"), name="accounts_invitation_email")]

    def __str__(self) -> str:
        return f"invitation of {self.email}"


class SignedInSession(models.Model):
    """A session that a person opened by signing in: where from and when it was last used, so that they can close it from afar."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="signed_in_sessions")
    session_key = models.CharField(max_length=40, unique=True)
    address = models.CharField(max_length=64)
    agent = models.CharField(max_length=300)
    created_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar[list[str]] = ["-seen_at"]

    def __str__(self) -> str:
        return f"{self.user} from {self.address}"


class SignInAttempt(models.Model):
    """A sign-in that has not succeeded. Written before the password is checked and removed on success, so that
    attempts made at the same moment count each other."""

    id = models.BigAutoField(primary_key=True)
    email = models.CharField(max_length=254)
    address = models.CharField(max_length=64)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["email", "at"], name="accounts_attempt_email"),
            models.Index(fields=["address", "at"], name="accounts_attempt_address"),
            models.Index(fields=["at"], name="accounts_attempt_at"),
        ]

    def __str__(self) -> str:
        return f"{self.email} from {self.address}"
