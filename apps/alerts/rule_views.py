"""Pages of rules and SLOs: the lists, one of each with what it says now, the forms with their diff, switching off, deleting."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone as clock

from apps.alerts import choices, services
from apps.alerts.error_budgets import budgets_now
from apps.alerts.models import AlertRule, Slo
from apps.alerts.plots import slo_plot
from apps.alerts.preview import Preview, rule_preview
from apps.alerts.remedies import runbook_named
from apps.alerts.rule_forms import RuleForm, SloForm, labels_written
from apps.alerts.selectors import alerts, rules, slos
from apps.alerts.series import SERIES, threshold_text, threshold_written
from apps.alerts.slo_history import scope_of
from apps.alerts.tables import rules_list, slos_list
from apps.alerts.views import frame, shown
from apps.alerts.wording import span_text
from apps.audit.selectors import audit_events
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.publishing.trail import trail
from apps.ui.status import Status


class RulesView(ScopedView):
    """``/alerts/rules/``: every rule; CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "alert.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = rules_list(self.choice, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-alert-rules.csv")
        context = frame(self.choice, "rules") | {
            "listing": listing,
            "rows": [(row, RuleWords(row)) for row in listing.rows],
            "series": [(name, series.label) for name, series in SERIES.items()],
            "may_change": self.choice.may("alert_rule.change"),
        }
        return render(request, "alerts/rules.html", context)


class RuleWords:
    """A rule in words."""

    def __init__(self, rule: AlertRule) -> None:
        self.series = SERIES[rule.series]
        self.of = ", ".join(rule.values) if rule.values else choices.SCOPES[rule.by]
        self.warn = threshold_text(self.series, rule.comparison, rule.warn)
        self.critical = threshold_text(self.series, rule.comparison, rule.critical)
        self.window = span_text(rule.window_s)
        self.lasts = span_text(rule.for_s) if rule.for_s else "at once"
        self.hold = span_text(rule.hold_s)
        self.missing = choices.ON_MISSING[rule.on_missing]
        self.labels = labels_written(rule.labels).replace("\n", ", ")
        self.state = Status("on", "On", "good") if rule.enabled else Status("off", "Off", "neutral", "dash", hint="Nobody looks at it.")


class OneRule(ScopedView):
    """A view of one living rule of the chosen organisation."""

    def subject(self) -> Any:
        """Raises Http404."""
        row = rules(self.choice.organisation).select_related("organisation").filter(pk=self.kwargs["alert_rule_id"]).first()
        if row is None:
            raise Http404("There is no such rule.")
        return row


class RuleView(OneRule):
    """``/alerts/rules/<id>/``: the rule in words, its alerts, who changed what."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "alert.view"

    def get(self, request: HttpRequest, alert_rule_id: object) -> HttpResponseBase:
        rule, now = self.subject(), clock.now()
        recent = alerts(self.choice.organisation).filter(rule=rule).exclude(state=choices.RESOLVED, fired_at=None)[:20]
        context = frame(self.choice, "rules") | {
            "rule": rule,
            "words": RuleWords(rule),
            "tried": rule_preview(rule, now=now) if rule.slo_id is None else None,
            "runbook": runbook_named(rule.organisation, rule.runbook),
            "rows": shown(list(recent), now),
            "may_change": self.choice.may("alert_rule.change", team=rule.owner_id)
            if rule.owner_id
            else self.choice.may("alert_rule.change"),
        }
        if self.choice.may("audit.view"):
            context["entries"] = trail(list(audit_events(subject_kind="alert_rule", subject_id=rule.pk)[:20]))
        return render(request, "alerts/rule.html", context)


class RuleEditView(EditView):
    """What making and changing have in common. Nothing of it reaches proxies."""

    form_class = RuleForm
    permission = "alert_rule.change"
    kind = "alert_rule"

    def managed_of(self) -> tuple[str, str]:
        """The rule of an SLO is in the SLO's entry."""
        of_slo = self.object.slo_id if self.object is not None else None
        return ("slo", str(of_slo)) if of_slo is not None else super().managed_of()

    template: ClassVar[str] = "alerts/rule_edit.html"
    reversible: ClassVar[bool] = False
    tried: Preview | None = None
    """What the rule as it was reviewed would have done in the last days."""

    def context(self) -> dict[str, Any]:
        return {"tried": self.tried}

    def try_out(self, rule: AlertRule) -> AlertRule:
        """Look at the last days, while the change is reviewed; the rule itself is undone afterwards."""
        if "publish" not in self.request.POST and rule.slo_id is None:
            self.tried = rule_preview(rule)
        return rule

    def form_kwargs(self) -> dict[str, Any]:
        row = self.object
        return {"organisation": self.choice.organisation, "fixed": row is not None, "of_slo": bool(row and row.slo_id)}

    def title(self) -> str:
        return "New rule" if self.object is None else f"Edit {self.object}"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Alerts", reverse("alerts:list")), ("Rules", reverse("alerts:rules"))]

    def cancel_url(self) -> str:
        return reverse("alerts:rules")

    def done_url(self, result: AlertRule) -> str:
        return reverse("alerts:rule", args=[result.pk])

    def done_message(self, result: AlertRule) -> str:
        return f"Rule {result.title} saved: it is looked at with the next minute."


class RuleCreateView(RuleEditView):
    """``/alerts/rules/new/``; ``?series=`` and ``?by=`` fill in."""

    def initial(self) -> dict[str, Any]:
        return {name: self.request.GET.get(name, "") for name in ("series", "by") if self.request.GET.get(name)}

    def change(self, form: Any) -> AlertRule:
        facts = form.facts()
        return self.try_out(services.rule_create(actor=self.actor, organisation=self.choice.organisation, reason=self.reason, **facts))


class RuleUpdateView(OneRule, RuleEditView):
    """``/alerts/rules/<id>/edit/``."""

    def initial(self) -> dict[str, Any]:
        row: AlertRule = self.object
        series = SERIES[row.series]
        return {
            **{name: getattr(row, name) for name in ("name", "title", "series", "by", "comparison", "on_missing", "runbook")},
            **{name: getattr(row, name) for name in ("opens_incident", "enabled")},
            "values": "\n".join(row.values),
            "warn": threshold_written(series, row.comparison, row.warn),
            "critical": threshold_written(series, row.comparison, row.critical),
            "window_s": str(row.window_s),
            "for_s": f"{row.for_s // 60}m",
            "hold_s": f"{row.hold_s // 60}m",
            "min_samples": str(row.min_samples),
            "owner": str(row.owner_id or ""),
            "labels": labels_written(row.labels),
        }

    def change(self, form: Any) -> AlertRule:
        facts = form.facts()
        facts.pop("name", None)
        return self.try_out(services.rule_update(actor=self.actor, rule=self.object, reason=self.reason, **facts))


class RuleAction(OneRule, ActionView):
    """One act on a rule, which reaches no proxy."""

    permission = "alert_rule.change"
    reversible: ClassVar[bool] = False


class RuleDeleteView(RuleAction):
    """POST ``/alerts/rules/<id>/delete/``."""

    def change(self, reason: str) -> AlertRule:
        services.rule_delete(actor=self.actor, rule=self.object, reason=reason)
        return self.object  # type: ignore[no-any-return]

    def done_url(self) -> str:
        return reverse("alerts:rules")

    def done_message(self, result: AlertRule) -> str:
        return f"Rule {result.title} deleted."


class RuleSwitchView(RuleAction):
    """POST ``/alerts/rules/<id>/switch/``: on where it was off, off where it was on."""

    def change(self, reason: str) -> AlertRule:
        return services.rule_update(actor=self.actor, rule=self.object, enabled=not self.object.enabled, reason=reason)

    def done_url(self) -> str:
        return reverse("alerts:rule", args=[self.object.pk])

    def done_message(self, result: AlertRule) -> str:
        return f"Rule {result.title} is {'on' if result.enabled else 'off'}."


# --- SLOs -----------------------------------------------------------------------------------------------------------


class SlosView(ScopedView):
    """``/alerts/slos/``: every SLO with what is left of its error budget; CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "alert.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = slos_list(self.choice, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-slos.csv")
        found = budgets_now(listing.rows, scope_of(self.choice.organisation), clock.now())
        context = frame(self.choice, "slos") | {
            "listing": listing,
            "rows": [(row, found[row.pk]) for row in listing.rows],
            "may_change": self.choice.may("slo.change"),
        }
        return render(request, "alerts/slos.html", context)


class OneSlo(ScopedView):
    """A view of one living SLO of the chosen organisation."""

    def subject(self) -> Any:
        """Raises Http404."""
        row = slos(self.choice.organisation).filter(pk=self.kwargs["slo_id"]).first()
        if row is None:
            raise Http404("There is no such SLO.")
        return row


class SloView(OneSlo):
    """``/alerts/slos/<id>/``: the error budget, how fast it burns, its alerts, who changed what."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "alert.view"

    def get(self, request: HttpRequest, slo_id: object) -> HttpResponseBase:
        slo, now = self.subject(), clock.now()
        budget = budgets_now([slo], scope_of(self.choice.organisation), now)[slo.pk]
        recent = alerts(self.choice.organisation).filter(rule=slo.rule).exclude(state=choices.RESOLVED, fired_at=None)[:20]
        context = frame(self.choice, "slos") | {
            "slo": slo,
            "budget": budget,
            "of": f"{slo.by} {slo.subject}".strip() or "everything",
            "bound": f"{slo.threshold_ms:,} ms" if slo.threshold_ms else "",
            "window": choices.SLO_WINDOWS[slo.window_days],
            "runbook": runbook_named(slo.organisation, slo.runbook),
            "promised": f"{slo.objective_text} % promised",
            "may_fail": f"{max(budget.may_fail, 0):,}",
            "plot": slo_plot(slo, now=now),
            "burns": [(burn, choices.SEVERITIES[burn.severity], span_text(burn.long_s), span_text(burn.short_s)) for burn in choices.BURNS],
            "rows": shown(list(recent), now),
            "may_change": self.choice.may("slo.change", team=slo.owner_id) if slo.owner_id else self.choice.may("slo.change"),
        }
        if self.choice.may("audit.view"):
            context["entries"] = trail(list(audit_events(subject_kind="slo", subject_id=slo.pk)[:20]))
        return render(request, "alerts/slo.html", context)


class SloEditView(EditView):
    """What making and changing have in common. Nothing of it reaches proxies."""

    form_class = SloForm
    permission = "slo.change"
    kind = "slo"
    reversible: ClassVar[bool] = False

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation, "fixed": self.object is not None}

    def title(self) -> str:
        return "New SLO" if self.object is None else f"Edit {self.object}"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Alerts", reverse("alerts:list")), ("SLOs", reverse("alerts:slos"))]

    def cancel_url(self) -> str:
        return reverse("alerts:slos")

    def done_url(self, result: Slo) -> str:
        return reverse("alerts:slo", args=[result.pk])

    def done_message(self, result: Slo) -> str:
        return f"SLO {result.title} saved; its rule follows."


class SloCreateView(SloEditView):
    """``/alerts/slos/new/``."""

    def change(self, form: Any) -> Slo:
        return services.slo_create(actor=self.actor, organisation=self.choice.organisation, reason=self.reason, **form.facts())


class SloUpdateView(OneSlo, SloEditView):
    """``/alerts/slos/<id>/edit/``."""

    def initial(self) -> dict[str, Any]:
        row: Slo = self.object
        return {
            **{name: getattr(row, name) for name in ("name", "title", "indicator", "by", "subject", "runbook")},
            "objective": row.objective_text,
            "threshold_ms": str(row.threshold_ms or ""),
            "window_days": str(row.window_days),
            "min_requests": str(row.min_requests),
            "owner": str(row.owner_id or ""),
        }

    def change(self, form: Any) -> Slo:
        facts = form.facts()
        facts.pop("name", None)
        return services.slo_update(actor=self.actor, slo=self.object, reason=self.reason, **facts)


class SloDeleteView(OneSlo, ActionView):
    """POST ``/alerts/slos/<id>/delete/``."""

    permission = "slo.change"
    reversible: ClassVar[bool] = False

    def change(self, reason: str) -> Slo:
        services.slo_delete(actor=self.actor, slo=self.object, reason=reason)
        return self.object  # type: ignore[no-any-return]

    def done_url(self) -> str:
        return reverse("alerts:slos")

    def done_message(self, result: Slo) -> str:
        return f"SLO {result.title} deleted, and its rule with it."
