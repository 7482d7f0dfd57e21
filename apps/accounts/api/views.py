"""What every view of the API shares: who calls, where, whether they may; writes done once; bodies in one shape.

Views hold no decisions. Services ask for permissions and judge input; a view only finds things, hands data on, and answers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, cast
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.http import Http404, HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.answers import answer_claim, answer_keep, fingerprint
from apps.accounts.api.errors import ApiError, TooLarge
from apps.accounts.models import Membership, Organisation, User
from apps.accounts.rules import roles_for
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor

KEPT_HEADERS = ("ETag", "Location", "Bulkhead-Config-Version")
"""Of an answer that is given again."""


class ApiView(APIView):
    """A view of the API.

    permission: what reading takes, asked in the organisation that the address names; with ``installation`` in organisation
    ``main``; empty: everybody who is signed in. Writing is asked by services.
    """

    permission: ClassVar[str] = ""
    installation: ClassVar[bool] = False
    request: Request

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.permission:
            roles_for(cls.permission)  # a misspelt one fails when the module is loaded

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if "organisation" in kwargs:
            self.organisation = organisation_of(cast(User, request.user), kwargs["organisation"])
        if self.permission:
            where = None if self.installation else getattr(self, "organisation", None)
            permission_require(actor=self.actor, action=self.permission, organisation=where)
        if int(request.META.get("CONTENT_LENGTH") or 0) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise TooLarge(f"The body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE:,} bytes: send less at once.")

    @cached_property
    def actor(self) -> Actor:
        """Who acts, for services."""
        return Actor.of_user(self.request.user, self.request)

    @cached_property
    def body(self) -> bytes:
        """The request's body as it came. To be read before ``request.data``."""
        return cast(bytes, self.request._request.body)

    def once(self, act: Callable[[], Response]) -> Any:
        """A write in one transaction; with an ``Idempotency-Key`` done once, however often it is sent within 24 hours."""
        key, body = self.request.headers.get("Idempotency-Key"), self.body
        with transaction.atomic():
            if key is None:
                return act()
            path = self.request.get_full_path()
            kept = answer_claim(owner=self._owner, key=key, fingerprint=fingerprint(method=self.request.method or "", path=path, body=body))
            if kept is not None:
                headers = {**kept.headers, "Idempotent-Replayed": "true"}
                return HttpResponse(kept.body, status=kept.status, headers=headers, content_type="application/json")
            response = act()
            written = b"" if response.data is None else self.get_renderers()[0].render(response.data)
            headers = {name: response[name] for name in KEPT_HEADERS if name in response}
            answer_keep(owner=self._owner, key=key, status=response.status_code, headers=headers, body=written)
            return response

    @property
    def _owner(self) -> UUID:
        return cast(UUID, (self.request.auth or self.request.user).pk)

    def given(self) -> dict[str, Any]:
        """The body as an object. Raises ApiError for anything else."""
        _ = self.body
        data = self.request.data
        if not isinstance(data, dict):
            raise ApiError("Send a JSON object.")
        return data

    @property
    def reason(self) -> str:
        """Why, from the body or the address; for services."""
        data = self.request.data
        said = data.get("reason") if isinstance(data, dict) else None
        return str(said if said is not None else self.request.query_params.get("reason", "")).strip()[:2000]


def organisation_of(user: User, slug: str) -> Organisation:
    """The organisation that an address names, if the person belongs to it: one query. Raises Http404, also for one of others."""
    found = Membership.objects.select_related("organisation").filter(user_id=user.pk, organisation__slug=slug).first()
    if found is None:
        raise Http404(f"You belong to no organisation {slug!r}.")
    return found.organisation


def found_or_404(found: Any, what: str, reference: object) -> Any:
    """Raises Http404 for None."""
    if found is None:
        raise Http404(f"There is no {what} {str(reference)[:120]!r} here.")
    return found


def uuid_of(reference: object) -> UUID | None:
    """The id that an address names; None where it is a name."""
    try:
        return UUID(str(reference))
    except ValueError:
        return None
