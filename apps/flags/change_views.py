"""Pages of flips that wait: the lists, one request with what it changes, asking for one, deciding, and the rules about two persons."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone as clock

from apps.accounts.pages import ScopedView, refusal_text
from apps.accounts.rules import roles_for
from apps.accounts.scope import Choice
from apps.audit.selectors import audit_events
from apps.flags import change_choices as choices
from apps.flags import change_rules as rules
from apps.flags import change_selectors as selectors
from apps.flags import changes, two_person_rules
from apps.flags.change_forms import FlipForm, RuleForm
from apps.flags.change_rows import fingerprint, told_of
from apps.flags.change_tables import CHANGES
from apps.flags.consequences import Prediction
from apps.flags.detail import FlagDetail, flag_rows
from apps.flags.foretelling import change_foretell, flip_keep
from apps.flags.models import ChangeRequest, TwoPersonRule
from apps.flags.selectors import flags_of
from apps.ownership.selectors import teams as teams_of
from apps.publishing.editing import ActionView
from apps.publishing.models import Version
from apps.publishing.preview import change_publish
from apps.publishing.selectors import fleet_status_of, head_state_of
from apps.publishing.trail import trail
from apps.publishing.wording import path_text, text_of
from apps.ui.fragments import tagged
from apps.ui.status import Status
from apps.ui.tables import Chip, Empty, listing_build
from apps.ui.toasts import toast
from apps.ui.zone import zone_label

TABS = (("Open", "open"), ("For you", "mine"), ("Reviews open", "reviews"), ("History", "history"))
NOTHING = {
    "open": ("Nothing waits", "Flips that are scheduled, or that take a second person, stand here until they happened."),
    "mine": ("Nothing waits for you", "Requests of others that you may approve, and reviews that you may close, stand here."),
    "reviews": ("No review is open", "What one person did alone although two are needed stays here until somebody else has looked at it."),
    "history": ("Nothing yet", "What became of requests and schedules is kept here."),
}
REASON_LENGTH = 300


def _tabs(choice: Choice, user_id: object, current: str) -> list[tuple[str, str, bool, int | None]]:
    counts = selectors.change_counts(choice, user_id)
    here = reverse("changes:list")
    tabs = [(label, f"{here}?show={show}", show == current, getattr(counts, show) if show != "history" else None) for label, show in TABS]
    stale = ("Neglected flags", reverse("changes:stale"), current == "stale", None)
    return [*tabs, stale, ("Rules", reverse("changes:rules"), current == "rules", None)]


class ListView(ScopedView):
    """``/changes/``: requests by what they wait for; CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "change.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        user = request.user.pk
        tabs = _tabs(self.choice, user, request.GET.get("show") or "open")
        show = next((name for (_, name), tab in zip(TABS, tabs, strict=False) if tab[2]), "open")
        wanted = str(request.GET.get("q", "")).replace("\x00", "").strip()[:80]
        rows = selectors.changes_shown(self.choice, user, show)
        title, text = NOTHING[show]
        found: Any = listing_build(
            request.GET,
            label="requests",
            columns=CHANGES,
            rows=rows.filter(flag_name__icontains=wanted) if wanted else rows,
            default_sort="-asked",
            nothing_yet=Empty("nothing-yet", title, text),
            chips=[Chip("Flag", wanted, "q")] if wanted else [],
        )
        if request.GET.get("format") == "csv":
            return found.csv("bulkhead-changes.csv")
        context = {
            "choice": self.choice,
            "listing": found,
            "rows": [(row, status_of(row)) for row in found.rows],
            "tabs": tabs,
            "show": show,
            "wanted": wanted,
            "may_ask": self.choice.may("change.request"),
        }
        return render(request, "flags/changes.html", context)


class BadgeView(ScopedView):
    """``/changes/badge/``: how many wait for this person, for the rail."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "change.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        mine = selectors.change_counts(self.choice, request.user.pk).mine
        return tagged(request, render(request, "flags/change_badge.html", {"mine": mine}))


class DetailView(ScopedView):
    """``/changes/<id>/``: what it changes, since when something else changed, who said what, and what this person may do."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "change.view"

    def get(self, request: HttpRequest, change_id: object) -> HttpResponseBase:
        row = _change(self)
        flag, user = row.flag, str(request.user.pk)
        told = told_of(flag) if flag is not None else {}
        team = flag.owner_id if flag is not None else row.team_id
        own = row.asked_kind == "user" and row.asked_id == user
        may_decide = self.choice.role in roles_for("change.approve") or bool(team and self.choice.may("change.approve", team=team))
        waits, open_ = row.state == choices.WAITING, row.state in choices.OPEN_STATES
        context = {
            "choice": self.choice,
            "row": row,
            "flag": flag,
            "state": status_of(row),
            "fields": _fields(row, told),
            "prediction": _prediction(request, self.choice, row) if open_ and _measurable(row) else None,
            "conflicts": _conflicts(row, told) if open_ and flag is not None else [],
            "seen": fingerprint(told) if told else "",
            "own": own,
            "may_approve": waits and may_decide and not own and flag is not None,
            "may_reject": waits and may_decide and not own,
            "may_withdraw": open_ and (own or may_decide),
            "may_review": row.review == choices.OPEN and may_decide and not own,
            "verdicts": choices.VERDICTS.items(),
            "verdict": choices.VERDICTS.get(row.verdict, ""),
            "entries": trail(audit_events(subject_kind="change", subject_id=row.pk)),
            "waits": waits,
        }
        return render(request, "flags/change.html", context)


class AskView(ScopedView):
    """``/changes/new/``: schedule a flip, or ask for one; ``?flag=NAME&on=on`` fills in."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "change.request"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        asked = request.GET
        on = "off" if asked.get("on") in ("0", "off") else "on"
        initial = {"name": asked.get("flag", ""), "on": on, "zone": zone_label(), "late": "60"}
        return self._page(FlipForm(initial=initial, flags=self._flags()))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = FlipForm(request.POST, flags=self._flags())
        if "restored" in request.POST or not form.is_valid():
            return self._page(form, status=200 if "restored" in request.POST else 400)
        facts = form.facts()
        try:
            result, _ = change_publish(
                actor=self.actor,
                reason=facts["reason"],
                change=lambda: changes.flip_submit(actor=self.actor, organisation=self.choice.organisation, **facts),
            )
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(form, status=400)
        if isinstance(result, ChangeRequest):
            toast(request, f"{result.flag_name}: {choices.STATES[result.state].label.lower()}")
            return redirect("changes:detail", result.pk)
        toast(request, f"{result.name} is {'on' if result.on else 'off'}")
        return redirect("changes:list")

    def _flags(self) -> list[str]:
        return list(flags_of(self.choice.organisation).values_list("name", flat=True))

    def _page(self, form: forms.Form, status: int = 200) -> HttpResponse:
        crumbs = [("Changes", reverse("changes:list"))]
        context = {"choice": self.choice, "form": form, "crumbs": crumbs, "cancel_url": reverse("changes:list")}
        return render(self.request, "flags/change_ask.html", context, status=status)


class DecisionView(ActionView):
    """One decision about one request; what may be undone is asked for anew, so there is no *Undo*."""

    reversible = False

    def subject(self) -> ChangeRequest:
        return _change(self)

    def done_url(self) -> str:
        return reverse("changes:detail", args=[self.object.pk])

    def done_message(self, result: ChangeRequest) -> str:
        return f"{result.flag_name}: {status_of(result).label.lower()}"


class ApproveView(DecisionView):
    """POST ``/changes/<id>/approve/``."""

    permission = "change.approve"
    reason_required = False
    foretold: Prediction | None = None
    """What a flip that happens with the approval was foretold to do."""

    def change(self, reason: str) -> ChangeRequest:
        self.foretold = change_foretell(self.object)
        seen = self.request.POST.get("seen", "")[:64]
        return changes.change_approve(actor=self.actor, change=self.object, reason=reason[:REASON_LENGTH], seen=seen)

    def after_publish(self, result: ChangeRequest, version: Version | None) -> None:
        if self.foretold is not None:
            flip_keep(actor=self.actor, result=result, prediction=self.foretold, version=version)


class RejectView(DecisionView):
    """POST ``/changes/<id>/reject/``."""

    permission = "change.approve"

    def change(self, reason: str) -> ChangeRequest:
        return changes.change_reject(actor=self.actor, change=self.object, reason=reason[:REASON_LENGTH])


class WithdrawView(DecisionView):
    """POST ``/changes/<id>/withdraw/``."""

    permission = "change.request"

    def change(self, reason: str) -> ChangeRequest:
        return changes.change_withdraw(actor=self.actor, change=self.object, reason=reason[:REASON_LENGTH])


class ReviewView(DecisionView):
    """POST ``/changes/<id>/review/``: close the review of what one person did alone."""

    permission = "breakglass.review"

    def change(self, reason: str) -> ChangeRequest:
        verdict = self.request.POST.get("verdict", "")[:20]
        return changes.change_review(actor=self.actor, change=self.object, verdict=verdict, note=reason)


class StaleView(ScopedView):
    """``/changes/stale/``: flags that nobody exercised for long, and flags with an expiry."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "change.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        organisation, now = self.choice.organisation, clock.now()
        context = {
            "choice": self.choice,
            "tabs": _tabs(self.choice, request.user.pk, "stale"),
            "neglected": selectors.flags_resting(organisation, now=now)[:500],
            "expiring": [(flag, flag.expired(now)) for flag in selectors.flags_expiring(organisation)[:500]],
        }
        return render(request, "flags/change_stale.html", context)


class RulesView(ScopedView):
    """``/changes/rules/``: which flips take two persons; POST adds one."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "change.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self._page(RuleForm(teams=self._teams(), initial={"kind": "kill"}))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = RuleForm(request.POST, teams=self._teams())
        if "restored" in request.POST or not form.is_valid():
            return self._page(form, status=200 if "restored" in request.POST else 400)
        given = dict(form.cleaned_data)
        team = given.pop("team")
        organisation = self.choice.organisation
        given["team"] = teams_of(organisation=organisation).get(pk=team) if team else None
        try:
            rule = two_person_rules.two_person_rule_add(actor=self.actor, organisation=organisation, **given)
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(form, status=400)
        toast(request, f"From now on {two_person_rules.two_person_words(rule)} takes two persons")
        return redirect("changes:rules")

    def _teams(self) -> list[tuple[str, str]]:
        return [(str(team.pk), team.name) for team in teams_of(organisation=self.choice.organisation)]

    def _page(self, form: forms.Form, status: int = 200) -> HttpResponse:
        rows = selectors.two_person_rules_of(self.choice.organisation)
        context = {
            "choice": self.choice,
            "tabs": _tabs(self.choice, self.request.user.pk, "rules"),
            "rules": [(row, two_person_rules.two_person_words(row), f"remove-{row.pk}") for row in rows],
            "form": form,
            "may_change": self.choice.may("organisation.change"),
        }
        return render(self.request, "flags/change_rules.html", context, status=status)


class RuleRemoveView(ActionView):
    """POST ``/changes/rules/<id>/remove/``: the rule ends a day from now."""

    permission = "organisation.change"
    reversible = False

    def subject(self) -> TwoPersonRule:
        rows = TwoPersonRule.objects.filter(organisation=self.choice.organisation, pk=self.kwargs["rule_id"])
        row = rows.select_related("organisation", "team").first()
        if row is None:
            raise Http404("There is no such rule in this organisation.")
        return row

    def change(self, reason: str) -> TwoPersonRule:
        return two_person_rules.two_person_rule_remove(actor=self.actor, rule=self.object, reason=reason[:REASON_LENGTH])

    def done_url(self) -> str:
        return reverse("changes:rules")

    def done_message(self, result: TwoPersonRule) -> str:
        return "The rule ends in 24 hours; until then it holds, and an admin can keep it"


def status_of(row: ChangeRequest) -> Status:
    """What a page shows first: an open review before everything else."""
    return choices.REVIEWS[choices.OPEN] if row.review == choices.OPEN else choices.STATES[row.state]


def _change(view: Any) -> ChangeRequest:
    row = selectors.change_get(view.choice.organisation, view.kwargs["change_id"])
    if row is None:
        raise Http404("There is no such request in this organisation.")
    return row


def _measurable(row: ChangeRequest) -> bool:
    """Whether traffic tells what it would do."""
    return row.flag is not None and row.flag.kind != "release" and not row.gives


def _prediction(request: HttpRequest, choice: Choice, row: ChangeRequest) -> Prediction:
    """What the flip would do, as measured in the last hour."""
    heard = [proxy["detail"] for proxy in fleet_status_of(request)["proxies"]]
    flag = flag_rows(choice, clock.now()).get(pk=row.flag_id)
    detail = FlagDetail(choice, flag, heard=heard, state=head_state_of(request))
    return detail.question(on=row.turn_on, share=row.share, simulated_only=row.simulated_only).answer()


def _fields(row: ChangeRequest, told: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(field, as it stands, as it would): the flip as a difference; one that is over against how the flag stood when asked for.
    Empty where the flag stands so already."""
    before = told if row.state in choices.OPEN_STATES and told else row.seen
    if row.gives:
        return [("owner", before.get("owner") or "nobody", row.to_name or "nobody")]
    after = {
        "until": row.until.isoformat() if row.until else None,
        "share": row.share,
        "simulated_only": row.simulated_only,
        "acknowledged": row.acknowledged,
    }
    found = [("state", _on(before.get("on")), _on(row.turn_on))] if before.get("on") != row.turn_on else []
    return found + [
        (path_text(name), text_of(name, before.get(name), {}), text_of(name, after[name], {})) for name in _differing(before, after)
    ]


def _differing(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [name for name in after if before.get(name, after[name]) != after[name]]


def _on(value: object) -> str:
    return "on" if value else "off"


def _conflicts(row: ChangeRequest, told: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(field, when the flip was asked for, now), in words."""
    found = rules.conflicts(row.seen, told)
    return [(path_text(each.field), text_of(each.field, each.then, {}), text_of(each.field, each.now, {})) for each in found]
