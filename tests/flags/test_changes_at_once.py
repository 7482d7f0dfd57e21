"""Workers and approvers that come at the same moment, each with a connection of its own: one flip."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TypeVar

import pytest
from django.db import connections
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import Event
from apps.flags import change_choices as choices
from apps.flags.change_upkeep import change_run
from apps.flags.changes import change_approve, flip_submit
from apps.flags.models import ChangeRequest, Flag
from apps.flags.services import flag_set
from apps.flags.two_person_rules import two_person_rule_add
from apps.publishing.services import publish
from tests.people import member

T = TypeVar("T")


def together(*acts: Callable[[], T]) -> list[T | ServiceError]:
    """What each said, all begun at the same moment; every thread gives its connection back."""
    start = Barrier(len(acts))

    def run(act: Callable[[], T]) -> T | ServiceError:
        try:
            start.wait()
            return act()
        except ServiceError as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


@pytest.mark.django_db(transaction=True)
def test_four_workers_and_then_three_approvers_flip_once_each(organisation: Organisation, actor: Actor) -> None:
    flag = flag_set(
        actor=actor, organisation=organisation, name="new-answers", kind="release", subject_kind="organisation",
        subject_id=organisation.pk,
    )  # fmt: skip
    publish(actor=actor, reason="first")
    asker, *others = (Actor.of_user(member(organisation, email=f"{name}@example.test")) for name in ("ada", "bob", "eve", "joe"))

    def submit(*, on: bool, **more: object) -> ChangeRequest:
        row = flip_submit(actor=asker, organisation=organisation, name=flag.name, on=on, reason="it is ready", **more)  # type: ignore[arg-type]
        assert isinstance(row, ChangeRequest)
        return row

    def flips() -> int:
        return Event.objects.filter(kind="flag.flip", subject_id=str(flag.pk)).count()

    at = clock.now() + timedelta(hours=1)
    scheduled = submit(on=True, at=at)
    ran = together(*(lambda: change_run(scheduled.pk, now=at) for _ in range(4)))
    assert sorted(map(bool, ran)) == [False, False, False, True] and flips() == 1
    two_person_rule_add(actor=actor, organisation=organisation, turning="off")
    row = submit(on=False)
    said = together(*(lambda by=by: change_approve(actor=by, change=row) for by in others))  # type: ignore[misc]
    assert sum(isinstance(each, ChangeRequest) for each in said) == 1, said
    assert all("nothing to approve" in each.message for each in said if isinstance(each, ServiceError))
    assert flips() == 2 and not Flag.objects.get(pk=flag.pk).on
    row.refresh_from_db()
    assert row.state == choices.APPLIED and row.decided_id in {by.id for by in others}
