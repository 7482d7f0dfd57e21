"""What routes' requests did at each target: only theirs, in whole buckets, with what targets of the same model did elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.usage.moves import EVERYTHING, PAST, VOLUME, work_before, work_of
from tests.dashboard.generate import usage_generate


@pytest.fixture
def scope(db: None) -> Scope:
    """300 requests over an hour on two routes, real partitions and summaries."""
    organisation = Organisation.objects.create(name="Moves", slug="moves", simulated=True)
    usage_generate(organisation=organisation, count=300, routes=("chat", "other"))
    return Scope(organisation=str(organisation.pk), simulated=True)


def test_work_is_of_the_routes_asked_for_and_of_targets_of_their_models(scope: Scope) -> None:
    now = datetime.now(UTC)
    start = now - timedelta(hours=2)
    chat = work_of(scope, start, now, routes=["chat"], whole=True)
    own = [one for one in chat if one.route == "chat"]
    everything = work_of(scope, start, now, routes=None)
    assert {one.route for one in chat} <= {"chat", EVERYTHING, VOLUME} and {one.route for one in everything} == {"chat", "other"}
    assert sum(one.requests for one in own) == sum(one.requests for one in everything if one.route == "chat") == 150
    assert next(one for one in chat if one.route == EVERYTHING).requests == 300
    with_models = work_of(scope, start, now, routes=["chat"], models=["sim-model"])
    assert {one.route for one in with_models} == {"chat", "other"}
    assert all(sum(one.first_token.values()) <= one.requests for one in own)
    assert work_of(Scope(scope.organisation, simulated=False), start, now, routes=["chat"]) == []


def test_one_feature_s_requests_are_told_apart(scope: Scope) -> None:
    now = datetime.now(UTC)
    found = work_of(scope, now - timedelta(hours=2), now, routes=None, whose=("feature", "search"))
    assert sum(one.requests for one in found) == 300  # the generator's one feature
    assert work_of(scope, now - timedelta(hours=2), now, routes=None, whose=("feature", "billing")) == []


def test_a_target_is_looked_for_in_the_days_before(scope: Scope) -> None:
    found = work_before(scope, ["sim-model"], now=datetime.now(UTC))
    assert sum(one.requests for one in found if one.route == PAST) > 0 and work_before(scope, [], now=datetime.now(UTC)) == []
