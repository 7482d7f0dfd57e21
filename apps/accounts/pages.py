"""What class-based pages share: who may open them, and how a refusal is told."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from django.contrib.auth.mixins import AccessMixin
from django.db import DataError, IntegrityError, OperationalError
from django.db.models import ProtectedError, RestrictedError
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from psycopg import errors as postgres

from apps.accounts.rules import PermissionRefused, roles_for
from apps.accounts.scope import ActionDenied, Choice, choice_allowed, scope_choose
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError


class ScopedView(AccessMixin, View):
    """A view for people who may do ``permission``: signed in, scope chosen, else the sign-in page or 403.

    permission: an action of ``apps.accounts.rules.PERMISSIONS``; empty: everybody who is signed in and belongs somewhere.
    installation: it is asked for organisation ``main``.
    Sets ``self.choice`` (whose things: ``self.choice.organisation``) and ``self.actor`` for services.
    """

    permission: ClassVar[str] = ""
    installation: ClassVar[bool] = False
    choice: Choice

    @cached_property
    def actor(self) -> Actor:
        """Who acts, for services; asks for the person's roles, so pages that only show something never make it."""
        return Actor.of_user(self.request.user, self.request)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.permission:
            roles_for(cls.permission)  # a misspelt one fails when the module is loaded

    @method_decorator(never_cache)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        if self.permission:
            self.choice = choice_allowed(request, self.permission, installation=self.installation)
        else:
            self.choice = scope_choose(request)
        try:
            return super().dispatch(request, *args, **kwargs)
        except PermissionRefused as refusal:
            raise ActionDenied(refusal.action, self.choice.organisation) from refusal


def refusal_text(error: Exception) -> tuple[str, str | None]:
    """What to tell the person, and the service's field it belongs to. Raises ``error`` where it is nobody's input:
    a lost database or a bug must not look like a typing mistake."""
    if isinstance(error, PermissionRefused):
        raise error
    if isinstance(error, ServiceError):
        return error.message, error.field
    if isinstance(error, (ProtectedError, RestrictedError)):
        return "Something else still refers to it. Remove what refers to it first.", None
    if isinstance(error, (DataError, IntegrityError)):
        return f"The database refused it: {str(error).splitlines()[0]}.", None
    cause = error.__cause__ if isinstance(error, OperationalError) else None
    if isinstance(cause, (postgres.DeadlockDetected, postgres.SerializationFailure, postgres.LockNotAvailable, postgres.QueryCanceled)):
        return "Somebody else was changing the same things at this moment. Nothing was done; send it again.", None
    raise error
