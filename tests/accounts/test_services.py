"""Creating people and organisations."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from apps.accounts.models import Membership, Organisation, User
from apps.accounts.rules import PermissionRefused, Role
from apps.accounts.services import membership_set, organisation_ensure, user_create, user_create_first_admin
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent

COMMAND = Actor.command("test")
pytestmark = pytest.mark.django_db


def actions() -> list[str]:
    return list(AuditEvent.objects.filter(seq=None).order_by("id").values_list("action", flat=True))


def test_organisation_ensure_creates_once_renames_and_audits() -> None:
    first = organisation_ensure(actor=COMMAND, slug="acme", name="Acme")
    assert organisation_ensure(actor=COMMAND, slug="acme", name="Acme").pk == first.pk
    assert organisation_ensure(actor=COMMAND, slug="acme", name="Acme Ltd").name == "Acme Ltd"
    assert actions() == ["organisation.create", "organisation.update"]
    assert Organisation.objects.get(slug="acme").id.version == 7


@pytest.mark.parametrize("slug", ["", "-a", "a-", "A", "a b", "ä", "a" * 61, "a\n"])
def test_organisation_ensure_refuses_a_bad_slug(slug: str) -> None:
    with pytest.raises(ServiceError) as refused:
        organisation_ensure(actor=COMMAND, slug=slug, name="x")
    assert refused.value.field == "slug"


def test_organisation_ensure_refuses_an_empty_name() -> None:
    with pytest.raises(ServiceError) as refused:
        organisation_ensure(actor=COMMAND, slug="a", name="  ")
    assert refused.value.field == "name"


def test_real_and_simulated_never_change_places() -> None:
    organisation_ensure(actor=COMMAND, slug="demo", name="Demo", simulated=True)
    with pytest.raises(ServiceError, match="is simulated") as refused:
        organisation_ensure(actor=COMMAND, slug="demo", name="Demo")
    assert refused.value.field == "simulated"


def test_first_admin_is_idempotent_and_keeps_the_password() -> None:
    organisation_ensure(actor=COMMAND, slug="demo", name="Demo", simulated=True)
    user = user_create_first_admin(actor=COMMAND, email="Ada@Example.com", password="a first password")
    before = AuditEvent.objects.count()
    again = user_create_first_admin(actor=COMMAND, email="ada@example.com", password="another password")
    assert again.pk == user.pk and again.check_password("a first password")
    assert AuditEvent.objects.count() == before
    assert user.email == "ada@example.com" and user.pk.version == 7
    assert sorted(user.memberships.values_list("organisation__slug", "role")) == [("demo", "admin"), ("main", "admin")]
    assert user.roles_text() == "admin of demo, admin of main"


def test_no_password_reaches_the_audit() -> None:
    user_create_first_admin(actor=COMMAND, email="ada@example.com", password="hunter2hunter2")
    for event in AuditEvent.objects.filter(seq=None):
        assert "hunter2" not in repr((event.before, event.after, event.reason))


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [("ada", "long enough!", "email"), ("", "long enough!", "email"), ("a@example.com", "short", "password")],
)
def test_user_create_refuses_bad_input(email: str, password: str, field: str) -> None:
    with pytest.raises(ServiceError) as refused:
        user_create(actor=COMMAND, email=email, password=password)
    assert refused.value.field == field
    assert not User.objects.exists()


def test_an_email_belongs_to_one_person_whatever_its_case() -> None:
    user = user_create(actor=COMMAND, email="ada@example.com", password="long enough!")
    with pytest.raises(ServiceError, match="exists already"):
        user_create(actor=COMMAND, email="ADA@example.com", password="long enough!")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create(email="ADA@EXAMPLE.COM")
    assert User.objects.get_by_natural_key("AdA@example.com").pk == user.pk


def test_the_last_admin_stays() -> None:
    user = user_create_first_admin(actor=COMMAND, email="ada@example.com", password="long enough!")
    main = Organisation.objects.get(slug="main")
    for role in (Role.VIEWER, None):
        with pytest.raises(ServiceError, match="last admin"):
            membership_set(actor=COMMAND, user=user, organisation=main, role=role)
    other = user_create(actor=COMMAND, email="bob@example.com", password="long enough!")
    membership_set(actor=COMMAND, user=other, organisation=main, role=Role.ADMIN)
    membership_set(actor=COMMAND, user=user, organisation=main, role=Role.VIEWER)
    assert Membership.objects.get(user=user).role == "viewer"


def test_a_viewer_changes_nobody() -> None:
    main = organisation_ensure(actor=COMMAND, slug="main", name="Main")
    viewer = user_create(actor=COMMAND, email="vic@example.com", password="long enough!")
    membership_set(actor=COMMAND, user=viewer, organisation=main, role=Role.VIEWER)
    actor = Actor.of_user(viewer)
    with pytest.raises(PermissionRefused):
        membership_set(actor=actor, user=viewer, organisation=main, role=Role.ADMIN)
    with pytest.raises(PermissionRefused):
        user_create(actor=actor, email="eve@example.com", password="long enough!")
    with pytest.raises(PermissionRefused):
        organisation_ensure(actor=actor, slug="mine", name="Mine")
    assert Membership.objects.get(user=viewer).role == "viewer"


def test_admins_of_main_reach_every_new_organisation() -> None:
    user = user_create_first_admin(actor=COMMAND, email="ada@example.com", password="long enough!")
    viewer = user_create(actor=COMMAND, email="vic@example.com", password="long enough!")
    membership_set(actor=COMMAND, user=viewer, organisation=Organisation.objects.get(slug="main"), role=Role.VIEWER)
    organisation_ensure(actor=COMMAND, slug="demo", name="Demo", simulated=True)
    assert list(Membership.objects.filter(organisation__slug="demo").values_list("user__email", "role")) == [("ada@example.com", "admin")]
    membership_set(actor=COMMAND, user=user, organisation=Organisation.objects.get(slug="demo"), role=None)
    organisation_ensure(actor=COMMAND, slug="demo", name="Demo", simulated=True)
    assert not Membership.objects.filter(organisation__slug="demo").exists(), "taken away on purpose, and not given back by a second start"
