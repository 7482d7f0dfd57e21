"""Sign in and sign out."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render, resolve_url
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters

from apps.accounts.carried import carried_from, carry
from apps.accounts.forms import SignInForm
from apps.accounts.signin import SignInLimited, SignInRefused, sign_in, sign_out
from apps.ui.views import csrf_failure as refuse_csrf


def _destination(request: HttpRequest) -> str:
    """Where to go after signing in: ``next`` when it stays on this host, else the start page."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        return wanted
    return resolve_url(settings.LOGIN_REDIRECT_URL)


@method_decorator([never_cache, csrf_protect, sensitive_post_parameters("password")], name="dispatch")
class LoginView(View):
    """``/login/``. Context of ``accounts/login.html``: ``form``, ``next`` (a safe path or empty), ``carried`` (a form that waits)."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest) -> HttpResponseBase:
        if request.user.is_authenticated:
            return redirect(_destination(request))
        return self._page(request, SignInForm())

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = SignInForm(request.POST)
        if not form.is_valid():
            return self._page(request, form, status=400)
        destination = _destination(request)
        try:
            sign_in(request=request, email=form.cleaned_data["email"], password=form.cleaned_data["password"])
        except SignInLimited as refusal:
            form.add_error(None, refusal.message)
            response = self._page(request, form, status=429)
            response["Retry-After"] = str(refusal.retry_after)
            return response
        except SignInRefused as refusal:
            form.add_error(None, refusal.message)
            return self._page(request, form, status=400)
        carried = carried_from(request.POST.get("carried", ""))
        if carried is not None:
            return render(request, "accounts/resume.html", {"carried": carried})
        return redirect(destination)

    def _page(self, request: HttpRequest, form: SignInForm, status: int = 200) -> HttpResponse:
        wanted = request.POST.get("next") or request.GET.get("next") or ""
        safe = wanted and url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure())
        sent = request.POST.get("carried", "")
        context = {"form": form, "next": wanted if safe else "", "carried": sent if carried_from(sent) else ""}
        return render(request, "accounts/login.html", context, status=status)


@method_decorator([never_cache, csrf_protect], name="dispatch")
class LogoutView(View):
    """``/logout/``, by POST only: a link on another page must not sign anybody out."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        sign_out(request=request)
        return redirect(settings.LOGOUT_REDIRECT_URL)


@never_cache  # the page holds what was sent
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form whose token does not fit: usually a tab that is older than the sign-in. One of our own pages' loses no text: it is shown
    with a fresh token, to be sent again by hand. One from elsewhere is refused and never shown, or a stranger could word it."""
    origin = f"{request.scheme}://{request.get_host()}"
    if request.method != "POST" or request.headers.get("Origin") != origin or request.headers.get("HX-Request"):
        return refuse_csrf(request, reason)
    sent = carry(request)
    if not request.user.is_authenticated:
        known = request.path != resolve_url(settings.LOGIN_URL)
        context = {"form": SignInForm(), "next": "", "carried": sent if known else ""}
        return render(request, "accounts/login.html", context, status=403)
    why = "This form was older than your session, so it was not done."
    return render(request, "accounts/resume.html", {"carried": carried_from(sent), "why": why}, status=403)
