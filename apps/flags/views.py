"""Pages of flags. Reading is in ``tables`` and ``detail``, deciding in ``services`` and ``changes``; editing is the flow of
``apps.publishing.editing``, flipping is in ``flip_views``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse

from apps.audit.errors import ServiceError
from apps.flags import choices, services
from apps.flags.detail import TABS, FlagDetail, flag_rows, followed
from apps.flags.forms import FlagForm
from apps.flags.measuring import subject_names
from apps.flags.models import Flag
from apps.flags.overrides import PRECEDENCE, overrides_of
from apps.flags.selectors import flags_of
from apps.flags.tables import STATES, flags_list, marks_of, status_of
from apps.flags.words import rules_yaml, tried
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.publishing.selectors import fleet_status_of, head_state_of, spread_of
from apps.publishing.trail import trail
from apps.ui.fragments import tagged


class ListView(ScopedView):
    """``/flags/``: every flag of the organisation, those that are on first; CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "flag.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        now = datetime.now(UTC)
        listing = flags_list(self.choice, request.GET, now)
        if request.GET.get("format") == "csv":
            return listing.csv("bulkhead-flags.csv")
        names = subject_names(listing.rows, head_state_of(request))
        context = {
            "choice": self.choice,
            "listing": listing,
            "rows": [(row, status_of(row, now), marks_of(row, now), names.get(row.subject_id, row.subject_id)) for row in listing.rows],
            "kinds": choices.KINDS,
            "states": STATES.values(),
            "may_change": self.choice.may("flag.change"),
            "may_ask": self.choice.may("change.request"),
        }
        return render(request, "flags/list.html", context)


class OverridesView(ScopedView):
    """``/overrides/``: everything in force beside the everyday config, what wins first."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "flag.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        head_state_of(request)  # knows the names of what flags are about
        found = overrides_of(self.choice, datetime.now(UTC))
        context = {"choice": self.choice, "found": [(one, *PRECEDENCE[one.kind]) for one in found], "precedence": PRECEDENCE.values()}
        return render(request, "flags/overrides.html", context)


class FlagView(ScopedView):
    """A view of one flag of the chosen organisation, by its name or its id."""

    def subject(self) -> Flag:
        """The flag with its last flips. Raises Http404."""
        asked, rows = self.kwargs["flag"], flag_rows(self.choice, datetime.now(UTC))
        flag = rows.filter(name=asked).first()
        if flag is None and _is_id(asked):
            flag = rows.filter(pk=asked).first()
        if flag is None:
            raise Http404
        return flag

    def detail(self) -> FlagDetail:
        heard = [proxy["detail"] for proxy in fleet_status_of(self.request)["proxies"]]
        return FlagDetail(self.choice, self.subject(), heard=heard, state=head_state_of(self.request))


class DetailView(FlagView):
    """``/flags/<name>/``: one flag; ``?tab=`` shows its flips or its history."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "flag.view"

    def get(self, request: HttpRequest, flag: str) -> HttpResponseBase:
        detail = self.detail()
        shown = [(value, label) for value, label in TABS if value != "history" or self.choice.may("audit.view")]
        tab = request.GET.get("tab", "")
        tab = tab if tab in dict(shown) else "now"
        team = detail.flag.owner_id
        context: dict[str, Any] = {
            "choice": self.choice,
            "detail": detail,
            "flag": detail.flag,
            "tab": tab,
            "tabs": [(label, detail.url if value == "now" else f"{detail.url}?tab={value}", value == tab, None) for value, label in shown],
            "published": published(request),
            "may_change": self.choice.may("flag.change", team=team) if team else self.choice.may("flag.change"),
            "may_give": self.choice.may("ownership.change", team=team) if team else self.choice.may("ownership.change"),
            "may_ask": self.choice.may("change.request"),
        }
        if tab == "history":
            context["entries"] = trail(detail.events)
        return render(request, "flags/detail.html", context)


class WatchView(FlagView):
    """``/flags/<name>/watch/``: the last flip, predicted and measured, as the panel polls it."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "flag.view"

    def get(self, request: HttpRequest, flag: str) -> HttpResponseBase:
        detail = FlagDetail(self.choice, self.subject())
        if not request.htmx:  # type: ignore[attr-defined]
            return redirect(detail.url)
        watched = followed(detail.flips[0], detail.now) if detail.flips else None
        context = {"detail": detail, "flag": detail.flag, "watched": watched, "may_ask": self.choice.may("change.request")}
        return tagged(request, render(request, "flags/watch.html", context))


class SpreadView(FlagView):
    """``/flags/<name>/spread/?version=``: how many proxies run what was just published; polled until all do."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "flag.view"

    def get(self, request: HttpRequest, flag: str) -> HttpResponseBase:
        url, number = reverse("flags:detail", args=[self.subject().name]), published(request)
        if number is None or not request.htmx:  # type: ignore[attr-defined]
            return redirect(url)
        spread = spread_of(number)
        context = {"number": number, "applied": spread.applied, "total": spread.total, "url": url}
        return tagged(request, render(request, "routes/spread.html", context))


class FlagEditView(EditView):
    """What creating and editing have in common: the form, and trying its rules without saving anything."""

    form_class = FlagForm
    permission = "flag.change"
    kind = "flag"
    template = "flags/edit.html"
    object: Flag | None

    def form_kwargs(self) -> dict[str, Any]:
        return {
            "organisation": self.choice.organisation,
            "config": head_state_of(self.request).fragments,
            "fixed_name": self.object is not None,
        }

    def reshape(self, data: QueryDict) -> QueryDict | None:
        """*Try it* shows the form again with who gets the flag."""
        return data if "try" in data else None

    def context(self) -> dict[str, Any]:
        if "try" not in self.request.POST:
            return {}
        form = self.form_class(self.request.POST, initial=self.initial(), **self.form_kwargs())
        form.is_valid()
        if "rules" not in form.cleaned_data:
            return {"try_problem": " ".join(form.errors.get("rules", ["The rules cannot be read."]))}
        others = {row.name: (row.in_force(), row.rules) for row in flags_of(self.choice.organisation)}
        name = str(form.cleaned_data.get("name") or "new flag")
        others.pop(name, None)
        try:
            return {"tried": tried(name, form.cleaned_data["rules"], form.cleaned_data.get("callers") or "", others), "try_asked": True}
        except ServiceError as error:
            return {"try_problem": error.message}

    def done_url(self, result: Flag) -> str:
        return reverse("flags:detail", args=[result.name])

    def crumbs(self) -> list[tuple[str, str]]:
        above = [("Flags", reverse("flags:list"))]
        return above if self.object is None else [*above, (self.object.name, reverse("flags:detail", args=[self.object.name]))]


class CreateView(FlagEditView):
    """``/flags/new/``. A new flag is off."""

    def initial(self) -> dict[str, Any]:
        return {"level": "full", "default": "off", "stale_after_days": 60, "kind": "fallback"}

    def change(self, form: Any) -> Flag:
        facts, organisation = form.facts(), self.choice.organisation
        if facts["name"] == "new":
            raise ServiceError("The address of a flag named new is this page: choose another name.", "name")
        if flags_of(organisation).filter(name=facts["name"]).exists():
            raise ServiceError(f"There is a flag {facts['name']!r} already: choose another name, or edit that one.", "name")
        return services.flag_set(actor=self.actor, organisation=organisation, reason=self.reason[:300], **facts)

    def done_message(self, result: Flag) -> str:
        return f"Flag {result.name} created. It is off."

    def cancel_url(self) -> str:
        return reverse("flags:list")


class UpdateView(FlagEditView):
    """``/flags/<name>/edit/``. How it stands stays as it is."""

    def subject(self) -> Flag:
        flag = flags_of(self.choice.organisation).select_related("owner", "organisation").filter(name=self.kwargs["flag"]).first()
        if flag is None:
            raise Http404
        return flag

    def initial(self) -> dict[str, Any]:
        flag = self.object
        assert flag is not None
        return {
            "name": flag.name,
            "kind": flag.kind,
            "subject": f"{flag.subject_kind}:{flag.subject_id}",
            "level": flag.level,
            "rules": rules_yaml(flag.rules),
            "default": flag.default,
            "owner": flag.owner_id,
            "purpose": flag.purpose,
            "runbook": flag.runbook,
            "expires_on": flag.expires_at.astimezone(UTC).date() if flag.expires_at else None,
            "stale_after_days": flag.stale_after_days,
        }

    def change(self, form: Any) -> Flag:
        flag = self.object
        assert flag is not None
        return services.flag_set(
            actor=self.actor,
            organisation=self.choice.organisation,
            on=flag.on,
            reason=flag.reason,
            until=flag.until,
            share=flag.share,
            simulated_only=flag.simulated_only,
            acknowledge=flag.acknowledged,
            **form.facts(),
        )

    def done_message(self, result: Flag) -> str:
        return f"Flag {result.name} saved."

    def cancel_url(self) -> str:
        assert self.object is not None
        return reverse("flags:detail", args=[self.object.name])


class DeleteView(ActionView, FlagView):
    """POST ``/flags/<name>/delete/``."""

    permission = "flag.change"
    deleted = False

    def subject(self) -> Flag:
        return FlagView.subject(self)

    def change(self, reason: str) -> Flag:
        flag: Flag = self.object
        if flag.in_force():
            raise ServiceError("It is on: turn it off first, so that its consequences are seen before it is gone.")
        services.flag_delete(actor=self.actor, flag=flag, reason=reason)
        self.deleted = True
        return flag

    def done_url(self) -> str:
        return reverse("flags:list") if self.deleted else reverse("flags:detail", args=[self.kwargs["flag"]])

    def done_message(self, result: Flag) -> str:
        return f"Flag {result.name} deleted."


def published(request: HttpRequest) -> int | None:
    """The version that was just published, of ``?version=``."""
    text = request.GET.get("version", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
