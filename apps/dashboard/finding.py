"""One box for what one has in hand: the id of a request or a trace, a user, an input's fingerprint. It leads to a page or a filter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse

from apps.accounts.scope import Scope
from apps.usage.requests import request_get, trace_known

FAR = "now-30d"
"""How far back is looked for what may be of any day, unless the URL says otherwise."""
_HEX = re.compile(r"[0-9a-fA-F]{32}")
_LOST = frozenset({"q", "after", "before", "trace", "input", "user"})


def found_at(scope: Scope, text: str, query: Mapping[str, str]) -> str:
    """Where to go: a request's own page, else the list narrowed to it, with the other filters of ``query`` kept.

    32 hexadecimal digits are a request's id, else a trace's, else an input's fingerprint; with dashes a request's id; all else a user.
    """
    hexadecimal = bool(_HEX.fullmatch(text))
    try:
        request_id = UUID(text)
    except ValueError:
        request_id = None
    if request_id is not None:
        record = request_get(request_id) if hexadecimal else None
        if not hexadecimal or (record is not None and record.organisation == scope.organisation):
            return reverse("dashboard:request", args=[request_id])
    kept = {name: query[name] for name in query if name not in _LOST and query[name]}
    if hexadecimal:
        text = text.lower()
        kept |= {"trace" if trace_known(scope, text) else "input": text, "from": query.get("from") or FAR}
    else:
        kept["user"] = text[:256]
    return f"{reverse('dashboard:requests')}?{urlencode(kept)}"
