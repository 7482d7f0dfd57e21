"""Pages of action items: the list, one, its form, and what people do to it."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone as clock

from apps.accounts.models import User
from apps.audit.selectors import audit_events
from apps.postmortems import action_rules, action_services
from apps.postmortems.action_checks import CHECKS
from apps.postmortems.action_forms import ActionForm
from apps.postmortems.models import ActionItem, Postmortem
from apps.postmortems.pattern_selectors import action_debt
from apps.postmortems.postmortem_selectors import postmortem_get
from apps.postmortems.postmortem_tables import actions_list, actions_of, overdue
from apps.postmortems.tabs import frame
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.publishing.trail import trail


class ActionsView(ScopedView):
    """``/actions/``: what is open, what is due first on top. CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "postmortem.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = actions_list(self.choice, request.GET, cast(User, request.user), csv=csv)
        if csv:
            return listing.csv("bulkhead-actions.csv")
        now = clock.now()
        context = frame(self.choice, "actions") | {
            "listing": listing,
            "rows": [(row, overdue(row, now.date())) for row in listing.rows],
            "states": action_rules.STATES.values(),
            "debt": action_debt(self.choice.organisation, now),
            "may_change": self.choice.may("action_item.change"),
        }
        return render(request, "postmortems/actions.html", context)


class OneAction(ScopedView):
    """A view of one action item of the chosen organisation."""

    def subject(self) -> Any:
        """Raises Http404."""
        row = actions_of(self.choice).filter(pk=self.kwargs["action_id"]).first()
        if row is None:
            raise Http404("There is no such action item.")
        return row

    @property
    def url(self) -> str:
        return reverse("postmortems:action", args=[self.kwargs["action_id"]])

    def crumbs(self) -> list[tuple[str, str]]:
        """The pages above."""
        return [("Action items", reverse("postmortems:actions"))]


class ActionPageView(OneAction):
    """``/actions/<id>/``: what is to be done, how one sees it, what its check says."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "postmortem.view"

    def get(self, request: HttpRequest, action_id: object) -> HttpResponseBase:
        row: ActionItem = self.subject()
        context = frame(self.choice, "actions") | {
            "action": row,
            "check": CHECKS.get(row.check_kind),
            "late": overdue(row),
            "may_change": self.choice.may("action_item.change"),
            "crumbs": self.crumbs(),
        }
        if self.choice.may("audit.view"):
            context["entries"] = trail(list(audit_events(subject_kind="action_item", subject_id=row.pk)[:30]))
        return render(request, "postmortems/action.html", context)


class ActionFormView(EditView):
    """What making and changing have in common."""

    permission = "action_item.change"
    kind = "action_item"
    form_class = ActionForm
    reversible: ClassVar[bool] = False

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation, "action": self.object}

    def done_url(self, result: ActionItem) -> str:
        return reverse("postmortems:action", args=[result.pk])

    def done_message(self, result: ActionItem) -> str:
        return f"{result.reference} saved."

    def field_of(self, name: str | None, form: Any) -> str | None:
        return super().field_of("check" if name in ("check_kind", "check_of") else name, form)


class ActionCreateView(ActionFormView):
    """``/actions/new/``; with ``?postmortem=<id>`` one of that postmortem."""

    def title(self) -> str:
        return "New action item"

    def initial(self) -> dict[str, Any]:
        return {"priority": "p2"}

    def change(self, form: Any) -> ActionItem:
        return action_services.action_create(
            actor=self.actor, organisation=self.choice.organisation, spec=form.spec(), postmortem=self._postmortem()
        )

    def done_url(self, result: ActionItem) -> str:
        return reverse("postmortems:postmortem", args=[result.postmortem_id]) if result.postmortem_id else super().done_url(result)

    def crumbs(self) -> list[tuple[str, str]]:
        row = self._postmortem()
        own = [(row.incident.reference, reverse("postmortems:postmortem", args=[row.pk]))] if row else []
        return [("Action items", reverse("postmortems:actions")), *own]

    def cancel_url(self) -> str:
        return self.crumbs()[-1][1]

    def _postmortem(self) -> Postmortem | None:
        asked = self.request.GET.get("postmortem", "")
        if not asked:
            return None
        try:
            row = postmortem_get(self.choice.organisation, asked)
        except (ValueError, TypeError, LookupError) as error:
            raise Http404("There is no such postmortem.") from error
        if row is None:
            raise Http404("There is no such postmortem.")
        return row


class ActionUpdateView(OneAction, ActionFormView):
    """``/actions/<id>/edit/``."""

    def title(self) -> str:
        return f"Edit {self.object.reference}"

    def initial(self) -> dict[str, Any]:
        row: ActionItem = self.object
        return {
            "title": row.title, "outcome": row.outcome, "owner": str(row.owner_id or ""), "due_on": row.due_on, "priority": row.priority,
            "check": f"{row.check_kind}:{row.check_of}" if row.check_kind else "", "tracker_url": row.tracker_url,
        }  # fmt: skip

    def change(self, form: Any) -> ActionItem:
        return action_services.action_update(actor=self.actor, action=self.object, spec=form.spec(), reason=self.reason)

    def cancel_url(self) -> str:
        return self.url


class ActionAct(OneAction, ActionView):
    """One thing that somebody does to an action item."""

    permission = "action_item.change"
    reversible: ClassVar[bool] = False
    publishes: ClassVar[bool] = False

    def done_url(self) -> str:
        return self.url


class ActionDoneView(ActionAct):
    """POST ``/actions/<id>/done/``; ``reason`` is a note."""

    reason_required: ClassVar[bool] = False

    def change(self, reason: str) -> ActionItem:
        return action_services.action_done(actor=self.actor, action=self.object, note=reason)

    def done_message(self, result: ActionItem) -> str:
        return f"{result.reference} is done."


class ActionDeclineView(ActionAct):
    """POST ``/actions/<id>/decline/``."""

    def change(self, reason: str) -> ActionItem:
        return action_services.action_decline(actor=self.actor, action=self.object, reason=reason)

    def done_message(self, result: ActionItem) -> str:
        return f"{result.reference} will not be done; its reason is kept."


class ActionReopenView(ActionAct):
    """POST ``/actions/<id>/reopen/``."""

    def change(self, reason: str) -> ActionItem:
        return action_services.action_reopen(actor=self.actor, action=self.object, reason=reason)

    def done_message(self, result: ActionItem) -> str:
        return f"{result.reference} is open again."
