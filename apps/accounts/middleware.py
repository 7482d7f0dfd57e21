"""Around every view: note that a session is used, audit what is handed out as a file, and keep what was typed into a form whose
session had ended.

A POST that would be answered with *go and sign in* is answered with the sign-in page itself, which carries what was sent,
signed and compressed, through signing in. Nothing of it is stored on the server, and nothing is done with it until the
person sends it again (``apps.accounts.carried``).
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render, resolve_url

from apps.accounts.audit_export import export_record
from apps.accounts.carried import carry
from apps.accounts.forms import SignInForm
from apps.accounts.sessions import session_seen

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class SeenMiddleware:
    """Notes when a session was last used, every few minutes."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if "seen" in request.session and request.user.is_authenticated and response.status_code < 500:
            session_seen(request=request)
        return response


class ExportMiddleware:
    """Audits every file that is handed out to a person, whichever page makes it, before its first line leaves."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code == 200 and response.headers.get("Content-Disposition", "").startswith("attachment"):
            export_record(request, response)
        return response


class LostFormMiddleware:
    """Turns the redirect that would drop a form's text into the sign-in page that keeps it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        login_url = resolve_url(settings.LOGIN_URL)
        lost = (
            request.method == "POST"
            and response.status_code == 302
            and response.headers.get("Location", "").startswith(f"{login_url}?")
            and request.path != login_url
            and not request.user.is_authenticated
        )
        if not lost:
            return response
        if request.headers.get("HX-Request"):
            answer = HttpResponse(status=401)
            answer["HX-Redirect"] = login_url
            return answer
        page = render(request, "accounts/login.html", {"form": SignInForm(), "next": "", "carried": carry(request)}, status=401)
        page["Cache-Control"] = "no-store"
        return page
