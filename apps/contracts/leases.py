"""Leases: how a budget is enforced by many proxies without a round trip per request.

A proxy holds one lease per budget window. All amounts are nano-dollars and *totals since the lease
began*, so that a repeated or lost answer changes nothing. For every lease, at every moment::

    proxy:     available = granted - returned - consumed - reserved   >= 0
    database:  outstanding = granted - returned - settled             >= consumed + reserved
    window:    spent + sum(outstanding) <= ceiling                    (a CHECK)

``consumed`` is what finished attempts cost (journalled, perhaps not yet settled), ``reserved`` the upper bounds
of attempts in flight. A lease never expires by time: a dead proxy's is released when its journal is settled.
"""

from __future__ import annotations

import msgspec

RECALL_CHANNEL = "bulkhead_recall"
"""NOTIFY channel; payload: a window's id. Holders return what they do not need at once."""

WAIT_SECONDS = 0.25
"""How long a request that does not fit waits for settlements and recalls before it is refused."""


class LeaseWant(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a batched grant: at least ``need`` (else nothing), gladly ``want``.

    budget: its id; for a budget that each user has for themselves ``<id>/<user>``, here and in every ``LeaseState`` that answers.
    """

    budget: str
    need: int
    want: int


class LeaseState(msgspec.Struct, frozen=True, kw_only=True):
    """What the database says of one lease and its window, after a grant, a return or a sync.

    starts_at_ms, ends_at_ms: the window, database time. granted, returned: totals.
    generation: rises with every change; a return must name the one it saw.
    limit, spent, leased: the window's, for refusals that state the numbers.
    """

    budget: str
    lease: int
    window: int
    generation: int
    granted: int
    returned: int
    starts_at_ms: int
    ends_at_ms: int
    limit: int
    spent: int
    leased: int


class LeaseReturn(msgspec.Struct, frozen=True, kw_only=True):
    """Raise ``returned`` to this total if the lease is still at ``generation``."""

    lease: int
    generation: int
    returned: int


GONE_SQLSTATE = "BH001"
"""SQLSTATE that ``lease_grant``, ``lease_return`` and ``lease_sync`` raise for a boot id that was declared gone."""


class BootGone(Exception):
    """This process was declared dead and its slices were given away: it may not spend one nano-dollar more."""
