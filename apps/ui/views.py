"""Pages that belong to no app: the theme's switch, the error pages, the page for when the database cannot be reached."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import Resolver404, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apps.ui import outage, requestid
from apps.ui.catalogue import catalogue_context
from apps.ui.navigation import may_of
from apps.ui.palette import palette_find
from apps.ui.tables import Listing
from apps.ui.timerange import PRESETS
from apps.ui.toasts import toast
from apps.ui.zone import ZONE_COOKIE, zone_named
from controlplane.away import database_away

log = logging.getLogger(__name__)

THEME_COOKIE = "theme"
THEMES = ("light", "dark")


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Remember light, dark, or (anything else) the system's choice, and go back to where the person was."""
    chosen, back = request.POST.get("theme", ""), request.POST.get("next", "")
    response = HttpResponseRedirect(back if _own(request, back) else "/")
    if chosen in THEMES:
        response.set_cookie(THEME_COOKIE, chosen, max_age=365 * 86_400, samesite="Lax", httponly=True, secure=request.is_secure())
    else:
        response.delete_cookie(THEME_COOKIE, samesite="Lax")
    return response


def _staff(request: HttpRequest) -> None:
    """For the catalogue: whoever may administer an organisation. Raises PermissionDenied."""
    if not may_of(request)("organisation.change"):
        raise PermissionDenied("The catalogue is for those who build and administer this installation.")


@require_safe
@never_cache
@login_required
def catalogue(request: HttpRequest) -> HttpResponseBase:
    """``/ui/``: every part in every state; ``?scheme=light`` or ``dark`` shows it in that scheme."""
    _staff(request)
    context = catalogue_context(request.GET)
    if request.GET.get("format") == "csv":
        listing: Listing[Any] = context["listing"]
        return listing.csv("bulkhead-catalogue.csv")
    scheme = request.GET.get("scheme", "")
    context |= {"scheme": scheme, "schemes": (("", "As set"), ("light", "Light"), ("dark", "Dark")), "presets": PRESETS}
    context |= {"try_url": reverse("ui:catalogue_try"), "now": datetime.now(UTC)} | ({"theme": scheme} if scheme in THEMES else {})
    return render(request, "ui/catalogue.html", context)


@require_safe
@never_cache
@login_required
def catalogue_live(request: HttpRequest) -> HttpResponse:
    """The catalogue's live panel; with ``?fail=1`` a server that does not answer."""
    _staff(request)
    if request.GET.get("fail"):
        return HttpResponse("This is what a panel makes of a failure.", status=503, content_type="text/plain")
    return render(request, "ui/catalogue_live.html", {"now": datetime.now(UTC), "live": reverse("ui:catalogue_live")})


@require_POST
@login_required
def catalogue_try(request: HttpRequest) -> HttpResponse:
    """What the catalogue's forms and dialogs send: nothing is done but to say so."""
    _staff(request)
    toast(request, "Nothing was done: this is the catalogue", undo_url=reverse("ui:catalogue_try"))
    return HttpResponseRedirect(reverse("ui:catalogue"))


@require_safe
@never_cache
@login_required
def palette(request: HttpRequest) -> HttpResponse:
    """The command palette's hits for ``?q=``: a fragment for the dialog, a page of its own without script."""
    query = request.GET.get("q", "")
    found = palette_find(request.user, query, may=may_of(request))
    template = "ui/palette_hits.html" if request.htmx else "ui/palette_page.html"  # type: ignore[attr-defined]
    return render(request, template, {"query": query, "found": found})


@require_safe
@never_cache
@login_required
def toasts(request: HttpRequest) -> HttpResponse:
    """The toasts that wait, for a page that stays open after a write (``apps.ui.toasts.toast_announce``)."""
    return render(request, "ui/toasts.html", {"fragment": True})


@require_POST
def zone(request: HttpRequest) -> HttpResponse:
    """Remember in which zone to read times: the browser's (an IANA name), or (anything else) UTC; back to where the person was."""
    chosen, back = request.POST.get("zone", ""), request.POST.get("next", "")
    response = HttpResponseRedirect(back if _own(request, back) else "/")
    if zone_named(chosen):
        response.set_cookie(ZONE_COOKIE, chosen, max_age=365 * 86_400, samesite="Lax", httponly=True, secure=request.is_secure())
    else:
        response.delete_cookie(ZONE_COOKIE, samesite="Lax")
    return response


def _own(request: HttpRequest, address: str) -> bool:
    """Whether an address stays on this site."""
    return url_has_allowed_host_and_scheme(address, allowed_hosts={request.get_host()}, require_https=request.is_secure())


def _error_page(request: HttpRequest, name: str, status: int, **context: Any) -> HttpResponse:
    """An error page, made without a single query: the database may be what failed."""
    chosen = request.COOKIES.get(THEME_COOKIE, "")
    body = render_to_string(f"errors/{name}.html", {"theme": chosen if chosen in THEMES else "", "path": request.path, **context})
    return HttpResponse(body, status=status)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404, with what the view said of it, and the way up."""
    said = exception.args[0] if isinstance(exception, Http404) and exception.args and isinstance(exception.args[0], str) else ""
    parent = request.path.rstrip("/").rpartition("/")[0] + "/"
    above = parent if parent != "/" and not isinstance(exception, Resolver404) else ""
    return _error_page(request, "404", 404, why=said, above=above)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: why, the permission that is missing, and who can give it, where the refusal knows (``apps.accounts.scope.ActionDenied``)."""
    facts = {"why": str(exception), "action": getattr(exception, "action", ""), "admins": getattr(exception, "admins", ())}
    return _error_page(request, "403", 403, **facts)


def too_large(request: HttpRequest) -> HttpResponse:
    """413 of a form that was not read at all; its text is still in the window that sent it."""
    return _error_page(request, "413", 413, most=settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 of a form whose token does not fit and whose text must not be shown: it may come from another site."""
    return _error_page(request, "403", 403, why="This form is older than your session. Go back, reload the page and send it again.")


def server_error(request: HttpRequest) -> HttpResponse:
    """500; or 503 when the database cannot be reached, with what goes on working without it.

    Django calls the handler inside the ``except`` block, so the error is still at hand.
    """
    error = sys.exc_info()[1]
    if error is not None and database_away(error):
        log.error("database unreachable: %s", error)
        since = outage.failed()
        response = _error_page(request, "database", 503, since=since)
        response["Retry-After"] = "5"
        return response
    return _error_page(request, "500", 500, request_id=requestid.current.get(), at=datetime.now(UTC))
