"""Tags of representations, and what a write must know of the thing it writes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from django.utils.http import parse_etags
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from apps.accounts.api.errors import ChangedMeanwhile, PreconditionRequired


def etag_of(data: Mapping[str, Any], volatile: Collection[str] = ()) -> str:
    """A strong tag of a representation. volatile: fields that change by use, not by anybody's decision, such as ``used_at``."""
    kept = {name: data[name] for name in sorted(data) if name not in volatile}
    return f'"{hashlib.sha256(JSONRenderer().render(kept)).hexdigest()[:32]}"'


def unchanged(request: Request, etag: str) -> bool:
    """Whether the caller has this representation already (``If-None-Match``)."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in known or etag in {tag.removeprefix("W/") for tag in known}


def precondition_require(request: Request, *, etag: str, current: Any) -> None:
    """Raises PreconditionRequired without ``If-Match``, ChangedMeanwhile where it names another state; ``*`` is any state."""
    sent = request.headers.get("If-Match", "").strip()
    if not sent:
        raise PreconditionRequired(
            "Somebody else may have changed this: GET it, and send its ETag in If-Match (or * to overwrite whatever holds)."
        )
    known = parse_etags(sent)
    if "*" not in known and etag not in known:
        raise ChangedMeanwhile(
            "Somebody changed this since you read it. details.current is what holds now: decide anew.", current=current, etag=etag
        )
