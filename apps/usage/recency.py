"""When keys were used: the last time in a list, the first time for somebody who waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from apps.accounts.scope import Scope
from apps.contracts.tokens import SECRET_PRESENT, SECRET_REPLACED
from apps.usage.choices import EXAMPLE_TAG
from apps.usage.models import UsageRequest
from apps.usage.selectors import rows_of


def last_requests(scope: Scope, key_ids: Sequence[str], *, since: datetime) -> dict[str, datetime]:
    """When each key was last used, for those used ``since`` then: one query, one look-up by index for each key and day."""
    if not key_ids:
        return {}
    rows = rows_of(
        "SELECT wanted.key_id, latest.at FROM unnest(%s::text[]) AS wanted (key_id) CROSS JOIN LATERAL (SELECT max(started_at) AS at "
        "FROM usage_request WHERE key_id = wanted.key_id AND started_at >= %s AND organisation = %s AND simulated = %s) AS latest "
        "WHERE latest.at IS NOT NULL",
        [list(key_ids), since, scope.organisation, scope.simulated],
    )
    return dict(rows)


def secrets_last_used(scope: Scope, key_id: str, *, since: datetime) -> dict[str, datetime]:
    """When each of a key's two secrets was used last, for those used ``since`` then, by ``apps.contracts.tokens.SECRET_*``: one query."""
    latest = (
        "SELECT %s AS secret, max(started_at) AS at FROM usage_request WHERE flags ?| ARRAY['secret:present', 'secret:replaced'] "
        "AND key_id = %s AND {replaced} AND started_at >= %s AND organisation = %s AND simulated = %s"
    )
    sql = " UNION ALL ".join(latest.format(replaced=one) for one in ("NOT (flags ? 'secret:replaced')", "flags ? 'secret:replaced'"))
    told = [key_id, since, scope.organisation, scope.simulated]
    rows = rows_of(f"SELECT secret, at FROM ({sql}) AS latest WHERE at IS NOT NULL", [SECRET_PRESENT, *told, SECRET_REPLACED, *told])
    return dict(rows)


def first_request(key_id: str, *, since: datetime) -> UsageRequest | None:
    """The first request that came with a key after a moment, real or simulated: what somebody who waits for it sees. One query.

    What the demo sends by itself with its key is no request of theirs.
    """
    shown = ("id", "started_at", "outcome", "error_code")
    theirs = UsageRequest.objects.filter(key_id=key_id, started_at__gte=since).exclude(tags__contains=[EXAMPLE_TAG])
    return theirs.only(*shown).order_by("started_at").first()
