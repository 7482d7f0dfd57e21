"""The order of the steps before the first upstream is called: one literal tuple, nothing hidden."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from apps.proxy.errors import Refusal
from apps.proxy.steps.attribute import attribute
from apps.proxy.steps.authenticate import Authenticator
from apps.proxy.steps.bound import bound
from apps.proxy.steps.limit import limit
from apps.proxy.steps.plan import plan
from apps.proxy.steps.read import read

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import Runtime

Step = Callable[["Exchange", "Runtime"], Refusal | None]


def steps(authenticate: Authenticator) -> tuple[Step, ...]:
    """authenticate -> read -> attribute -> plan -> bound -> limit; then dispatch reserves, tries, settles and journals."""
    return (authenticate, read, attribute, plan, bound, limit)
