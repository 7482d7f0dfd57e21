"""The playground: a chat through a route as a chosen key, beside what would happen and what did."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from uuid import UUID

from asgiref.sync import async_to_sync
from django import forms
from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render

from apps.accounts.pages import ScopedView, refusal_text
from apps.accounts.rules import roles_text
from apps.accounts.scope import Choice
from apps.audit.errors import ServiceError
from apps.dashboard.playground import MOST_TEXT, Ask, chat_body, gathered, lines, play, reached_at, turns_read
from apps.dashboard.request_page import request_page_data
from apps.keys.models import VirtualKey
from apps.keys.passes import ACTION, key_pass
from apps.keys.selectors import key_named
from apps.keys.services import team_of
from apps.publishing.selectors import fleet_status_of
from apps.routes.models import Route
from apps.ui.fragments import tagged
from apps.usage.requests import request_get

STREAM = "application/x-ndjson"
OFFERED = 200
"""Names of keys and of routes that the page offers; any other can be typed."""
PLAIN = {"autocomplete": "off", "spellcheck": "false"}


class PlaygroundForm(forms.Form):
    """What to ask, through which route, as which key. ``turns``: the conversation so far, as the page sent it back."""

    key = forms.CharField(max_length=80, widget=forms.TextInput(attrs={**PLAIN, "list": "play-keys"}))
    route = forms.CharField(
        max_length=300,
        help_text="A route or an alias: what an app sends as model.",
        widget=forms.TextInput(attrs={**PLAIN, "list": "play-routes"}),
    )
    max_tokens = forms.IntegerField(label="Longest answer", min_value=1, max_value=32_768, initial=500, help_text="Tokens.")
    system = forms.CharField(
        label="System prompt", required=False, max_length=20_000, strip=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    turns = forms.CharField(required=False, max_length=2 * MOST_TEXT, strip=False, widget=forms.HiddenInput)
    message = forms.CharField(max_length=50_000, strip=False, widget=forms.Textarea(attrs={"rows": 3}))

    def __init__(self, *args: Any, choice: Choice, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.choice = choice
        self.virtual_key: VirtualKey | None = None

    def clean_key(self) -> str:
        name: str = self.cleaned_data["key"]
        try:
            key = key_named(self.choice.organisation, name)
        except ServiceError as error:
            raise forms.ValidationError(error.message) from error
        if not self.choice.may(ACTION, team=team_of(key) or ""):
            raise forms.ValidationError(f"You may not use this key here: it takes the role {roles_text(ACTION)}.")
        self.virtual_key = key
        return name

    def clean_turns(self) -> list[dict[str, str]]:
        try:
            return turns_read(self.cleaned_data["turns"])
        except ValueError as error:
            raise forms.ValidationError("The conversation has grown too long, or was damaged on its way: begin a new one.") from error


class PlaygroundView(ScopedView):
    """``/playground/``: the page; POST asks. A browser that takes a stream gets parts of the page as lines of JSON, any other the page."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = ACTION

    def get(self, request: HttpRequest) -> HttpResponseBase:
        asked = {name: request.GET[name][:300] for name in ("key", "route") if name in request.GET}
        return self._page(PlaygroundForm(initial=asked, choice=self.choice))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = PlaygroundForm(request.POST, choice=self.choice)
        if not form.is_valid():
            return self._page(form, status=400)
        try:
            ask = self._ask(form, dry="dry" in request.POST)
        except ServiceError as error:
            form.add_error(None, refusal_text(error)[0])
            return self._page(form, status=400)
        if STREAM in request.headers.get("Accept", ""):
            response = StreamingHttpResponse(lines(play(ask)), content_type=STREAM)
            response["X-Accel-Buffering"] = "no"  # reverse proxies would keep it until it is whole
            return response
        parts = async_to_sync(gathered)(play(ask))
        return self._page(form, parts={name.removeprefix("play-"): html for name, html in parts.items()})

    def _ask(self, form: PlaygroundForm, *, dry: bool) -> Ask:
        """The request, opened by a pass. Raises ServiceError, also where no proxy runs."""
        key, given = form.virtual_key, form.cleaned_data
        assert key is not None
        proxies = fleet_status_of(self.request)["proxies"]
        up = [proxy for proxy in proxies if proxy["public_url"] and not proxy["silent"] and proxy["state"] != "draining"]
        url = next((reached_at(proxy["public_url"], proxy["host"]) for proxy in up), "")
        if not url:
            raise ServiceError("No proxy has been heard of, so nothing can be asked: start one, or look at Proxies for what it says.")
        turns = [*given["turns"], {"role": "user", "content": given["message"]}]
        body = chat_body(route=given["route"], turns=turns, system=given["system"], max_tokens=given["max_tokens"])
        token = key_pass(actor=self.actor, key=key, route=given["route"], body=body, dry=dry)
        return Ask(url=url, token=token, body=body, turns=turns, dry=dry)

    def _page(self, form: PlaygroundForm, *, parts: dict[str, str] | None = None, status: int = 200) -> HttpResponseBase:
        organisation = self.choice.organisation
        rows = VirtualKey.objects.filter(organisation=organisation, state="active").select_related("service")[:OFFERED]
        turns: list[dict[str, str]] = form.cleaned_data.get("turns") or [] if form.is_bound else []
        context = {
            "choice": self.choice,
            "form": form,
            "parts": parts or {},
            "keys": [row.name for row in rows if self.choice.may(ACTION, team=team_of(row) or "")],
            "routes": list(Route.objects.filter(organisation=organisation).order_by("name").values_list("name", flat=True)[:OFFERED]),
            "turns": turns,
            "state": json.dumps(turns),
            "message": "" if parts and "message" in parts else form["message"].value() or "",
        }
        return render(self.request, "dashboard/playground/page.html", context, status=status)


class ToldView(ScopedView):
    """``/playground/told/?request=``: what happened with one request, once its record has come; polled until then."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "request.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        try:
            wanted = UUID(request.GET.get("request", ""))
        except ValueError as error:
            raise Http404 from error
        if not request.htmx:  # type: ignore[attr-defined]
            return redirect("dashboard:request", request_id=wanted)
        record = request_get(wanted)
        if record is not None and not self.choice.sees(record.organisation):
            raise Http404
        context: dict[str, Any] = {"request_id": str(wanted)}
        if record is not None:
            context |= request_page_data(record, self.choice)
        return tagged(request, render(request, "dashboard/playground/told.html", context))
