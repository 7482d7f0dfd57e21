"""What a policy would have done with a day that is over: reckoned by hand, bounded, and shown beside the review of a form."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Organisation
from apps.fleet.forms import initial_of
from apps.fleet.scaling import Policy
from apps.fleet.tried import Load, policy_try
from tests.dashboard.generate import usage_generate
from tests.fleet.test_pages import FORM, hidden

STEP = 600.0


def day(*tokens: float | None) -> list[Load]:
    return [Load(1e9 + at * STEP, STEP, one, 600 if one else 0) for at, one in enumerate(tokens)]


def test_a_day_with_a_peak_has_more_replicas_in_it() -> None:
    policy = Policy(minimum=1, maximum=10, tokens_each=1_000.0, down_after=600.0, down_most=10, up_most=10)
    found = policy_try(policy, day(500, *[500] * 5, 4_500, *[4_500] * 5, 500, *[500] * 5))
    assert (found.least, found.most, found.peak, found.unknown) == (1, 5, 4_500, "")
    assert found.steps == 2 and 1 < found.mean < 5
    # an hour at 5, ten minutes and a look more until it may go down, the rest at 1
    assert found.hours == pytest.approx(5 * (1 + 1 / 6) + (3 - 1 - 1 / 6), abs=0.2) and found.at_most == pytest.approx(30.0)


def test_without_the_signal_or_without_load_it_says_what_is_missing() -> None:
    assert "Tokens in flight" in policy_try(Policy(tokens_each=0.0), day(500)).unknown
    assert "No request" in policy_try(Policy(tokens_each=10.0), day(0, 0)).unknown


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), min_size=1, max_size=12), st.integers(0, 3), st.integers(3, 9))
def test_it_never_leaves_the_bounds(tokens: list[float | None], least: int, most: int) -> None:
    found = policy_try(Policy(minimum=least, maximum=most, tokens_each=700.0), day(1.0, *tokens))
    assert least <= found.least <= found.mean <= found.most <= most
    assert found.hours <= found.at_most + 1e-9


@pytest.mark.parametrize("traffic", [True, False])
def test_the_review_of_a_form_says_it(signed_in: Callable[..., Client], demo: Organisation, deploy: Any, traffic: bool) -> None:
    row = deploy(most=4, scaling_mode="dry_run", scaling={"tokens_each": 100.0})
    if traffic:
        usage_generate(
            organisation=demo, count=2_000, over=timedelta(hours=20), keys=["k"], routes=("chat",), providers=("deployment:chat",)
        )
    admin, url = signed_in(), reverse("fleet:deployment_edit", args=[row.pk])
    page = admin.get(url).content.decode()
    values = {name: value for name, value in initial_of(row).items() if value not in (None, "", False)}
    sent = {**FORM, **values, "scaling_tokens_each": "10", **{name: hidden(page, name) for name in ("revision", "submission")}}
    reviewed = admin.post(url, sent).content.decode()
    assert "With the last day" in reviewed, reviewed[-2_000:]
    assert ("hours of replicas, against" in reviewed) is traffic and ("No request reached it" in reviewed) is not traffic
