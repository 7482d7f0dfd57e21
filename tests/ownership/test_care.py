"""Contacts in their order, SLAs with their boundaries, runbooks and their reviews."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused, Role
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.ownership import care_services as services
from apps.ownership import checks
from apps.ownership.care_services import ContactSpec
from apps.ownership.models import Runbook, Sla, Team
from apps.ownership.selectors import runbook_get
from apps.ownership.services import service_ensure
from tests.ownership.conftest import COMMAND, actor_of

pytestmark = pytest.mark.django_db


def test_contacts_are_a_team_s_in_the_order_of_escalation(payments: Team) -> None:
    wanted = [ContactSpec("phone", "+49 30 1234567", "night"), ContactSpec("email", "pay@example.test")]
    for _ in range(2):
        assert [row.kind for row in services.contacts_set(actor=COMMAND, team=payments, contacts=wanted)] == ["phone", "email"]
    event = AuditEvent.objects.get(action="team.update")
    assert event.after == {"contacts": ["phone +49 30 1234567 (night)", "email pay@example.test"]}
    assert [row.kind for row in services.contacts_set(actor=COMMAND, team=payments, contacts=wanted[::-1])] == ["email", "phone"]


@pytest.mark.parametrize(
    ("kind", "value", "match"),
    [
        ("fax", "1", "no kind of contact"), ("email", "nobody", "not an email"), ("url", "javascript:alert(1)", "http"),
        ("phone", "call me", "phone number"), ("chat", "", "at most"),
    ],
)  # fmt: skip
def test_a_contact_that_reaches_nobody_is_refused(payments: Team, kind: str, value: str, match: str) -> None:
    with pytest.raises(ServiceError, match=match) as refused:
        services.contacts_set(actor=COMMAND, team=payments, contacts=[ContactSpec("chat", "#pay"), ContactSpec(kind, value)])
    assert refused.value.field == "contacts[1].value" and not payments.contacts.exists()


def test_an_sla_of_a_team_and_one_of_its_service(payments: Team, search: Team) -> None:
    checkout = service_ensure(actor=COMMAND, team=payments, slug="checkout")
    sla = services.sla_set(actor=COMMAND, team=payments, availability=99_900)
    own = services.sla_set(
        actor=COMMAND, team=payments, service=checkout, availability=checks.availability_read("99,95 %"),
        ttft_ms=800, ttft_warn_ms=800, ttft_page_ms=2000,
    )  # fmt: skip
    assert (sla.budget_minutes, own.budget_minutes, own.availability_text) == (43, 21, "99.95")
    services.sla_set(actor=COMMAND, team=payments, availability=99_900)
    services.sla_set(actor=COMMAND, team=payments, availability=99_900, page_percent=80)
    assert AuditEvent.objects.get(action="sla.update").after == {"page_percent": 80}
    with pytest.raises(ServiceError, match="another team"):
        services.sla_set(actor=COMMAND, team=search, service=checkout, availability=99_000)
    with pytest.raises(PermissionRefused, match=r"sla\.change"):
        services.sla_delete(actor=actor_of(payments, Role.ONCALL), sla=sla)
    services.sla_delete(actor=actor_of(payments, Role.MANAGER), sla=sla)
    assert Sla.objects.get() == own


@pytest.mark.parametrize(
    ("terms", "match"),
    [
        ({"availability": 100_000}, "less than 100"), ({"warn_percent": 90}, "Warn before"), ({"page_percent": 101}, "Warn before"),
        ({"ttft_warn_ms": 5}, "Promise a time"), ({"ttft_ms": 5}, "where to warn"),
        ({"ttft_ms": 5, "ttft_warn_ms": 9, "ttft_page_ms": 8}, "warning first"),
        ({"latency_page_ms": 5}, "Promise a time to the whole answer"), ({"latency_ms": 5}, "where to warn"),
        ({"window_days": 0}, "366"),
    ],
)  # fmt: skip
def test_an_sla_that_contradicts_itself_is_refused(payments: Team, terms: dict[str, int], match: str) -> None:
    with pytest.raises(ServiceError, match=match):
        services.sla_set(actor=COMMAND, team=payments, **{"availability": 99_000} | terms)  # type: ignore[arg-type]


def test_the_database_refuses_what_the_services_would(payments: Team) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Sla.objects.create(team=payments, availability=100_000)
    with pytest.raises(IntegrityError), transaction.atomic():
        Sla.objects.create(team=payments, availability=99_000, warn_percent=90, page_percent=90)


@pytest.mark.parametrize(("text", "value"), [("99.9", 99_900), ("99,999%", 99_999), ("95", 95_000)])
def test_percentages_as_people_write_them(text: str, value: int) -> None:
    assert checks.availability_read(text) == value


@pytest.mark.parametrize("text", ["100", "0", "99.9999", "nine", "nan", "-1"])
def test_percentages_that_promise_nothing(text: str) -> None:
    with pytest.raises(ServiceError):
        checks.availability_read(text)


@pytest.mark.parametrize(
    ("text", "bits", "written"),
    [("mon-fri", 31, "mon-fri"), ("", 127, ""), ("sat, sun,mon", 97, "mon, sat-sun"), ("fri-mon", 113, "mon, fri-sun")],
)
def test_weekdays_as_documents_write_them(text: str, bits: int, written: str) -> None:
    assert checks.days_read(text) == bits and checks.days_written(bits) == written
    with pytest.raises(ServiceError, match="weekdays"):
        checks.days_read("someday")


def test_another_text_takes_the_review_away(organisation: Organisation, payments: Team) -> None:
    given = {"actor": COMMAND, "organisation": organisation, "name": "provider-away", "title": "Provider away", "owner": payments}
    book = services.runbook_set(**given, text="# Look")  # type: ignore[arg-type]
    assert book.overdue()
    book = services.runbook_review(actor=COMMAND, runbook=book)
    assert not book.overdue() and book.overdue(timezone.now() + timedelta(days=91)) and book.reviewed_by == COMMAND.name
    assert services.runbook_set(**given, text="# Look\r\n").reviewed_at is not None, "the same text"  # type: ignore[arg-type]
    assert services.runbook_set(**given, text="# Flip").reviewed_at is None  # type: ignore[arg-type]
    assert [runbook_get(organisation=organisation, reference=text) for text in (str(book.pk), "provider-away")] == [book, book]
    assert runbook_get(organisation=organisation, reference="https://wiki.test/x") is None


def test_who_may_change_a_runbook(organisation: Organisation, payments: Team, search: Team) -> None:
    given = {"organisation": organisation, "name": "cache", "title": "Cache", "owner": payments}
    book = services.runbook_set(actor=actor_of(payments, Role.ONCALL), **given)  # type: ignore[arg-type]
    for role in (Role.MANAGER, Role.MEMBER):
        with pytest.raises(PermissionRefused, match=r"runbook\.change"):
            services.runbook_delete(actor=actor_of(search, role), runbook=book)
    with pytest.raises(ServiceError, match="100,000"):
        services.runbook_set(actor=COMMAND, **given, text="x" * 100_001)  # type: ignore[arg-type]
    services.runbook_delete(actor=COMMAND, runbook=book)
    assert not Runbook.objects.exists()
