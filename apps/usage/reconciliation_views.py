"""Pages of reconciliation: the imports so far, taking a file, one comparison by day and model."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone as clock

from apps.publishing.editing import ActionView, ScopedView, refusal_text
from apps.ui.tables import Chip, Column, Empty, listing_build
from apps.ui.toasts import toast
from apps.usage.cost_tabs import cost_tabs
from apps.usage.reconciliation_forms import ImportForm
from apps.usage.reconciliation_models import ProviderExport
from apps.usage.reconciliation_rules import STATES, Compared
from apps.usage.reconciliation_selectors import comparison, exports_of, providers_seen, unreconciled
from apps.usage.reconciliation_services import provider_export_import, provider_export_remove

EXPORTS: tuple[Column[ProviderExport], ...] = (
    Column("From", "from", order=("first_day", "last_day"), value=lambda row: row.first_day),
    Column("To", "to", order=("last_day",), value=lambda row: row.last_day),
    Column("Provider", "provider", value=lambda row: row.provider),
    Column("Export", "shape", value=lambda row: row.shape_label),
    Column("File", "file", order=("file_name",), extra=True, value=lambda row: row.file_name),
    Column("Rows", "rows", numeric=True, extra=True, value=lambda row: row.rows),
    Column("Imported", "imported", order=("imported_at",), value=lambda row: f"{row.imported_at:%Y-%m-%dT%H:%M:%SZ}"),
    Column("By", "by", order=("actor",), extra=True, value=lambda row: row.actor),
)


def _dollars(nano: int | None) -> Decimal | None:
    return None if nano is None else Decimal(nano).scaleb(-9)


LINES: tuple[Column[Compared], ...] = (
    Column("Day (UTC)", "day", value=lambda line: str(line.day)),
    Column("Model", "model", value=lambda line: line.model),
    Column("State", "state", value=lambda line: line.shown.label),
    Column("Tokens here", "tokens_ours", numeric=True, value=lambda line: line.tokens_ours),
    Column("Tokens there", "tokens_theirs", numeric=True, value=lambda line: line.tokens_theirs),
    Column("Difference", "tokens", numeric=True, value=lambda line: line.tokens_difference, help="There less here"),
    Column("Booked here", "ours", numeric=True, value=lambda line: _dollars(line.cost_ours)),
    Column("Billed there", "theirs", numeric=True, value=lambda line: _dollars(line.cost_theirs)),
    Column("Difference $", "cost", numeric=True, value=lambda line: _dollars(line.cost_difference), help="There less here"),
)
TOKENS, MONEY = LINES[3:6], LINES[6:9]
"""Left out where an export does not say."""


class ReconciliationsView(ScopedView):
    """``/costs/reconciliation/``: every import, and the providers of last month that none covers."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "budget.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        may = self.choice.may("reconciliation.change")
        nothing = Empty(
            "nothing-yet",
            "Nothing was compared yet",
            "Import a provider's usage or cost export: what it counts and bills is set beside what was recorded, by day and model.",
            reverse("costs:reconciliation_import") if may else "",
            "Import an export" if may else "",
        )
        listing = listing_build(
            request.GET,
            label="imports",
            columns=EXPORTS,
            rows=exports_of(self.choice.organisation, simulated=self.choice.simulated),
            default_sort="-imported",
            nothing_yet=nothing,
        )
        if request.GET.get("format") == "csv":
            return listing.csv("bulkhead-reconciliations.csv")
        context = {
            "choice": self.choice,
            "tabs": cost_tabs("costs:reconciliations"),
            "listing": listing,
            "missing": unreconciled(self.choice.scope, now=clock.now()),
            "may_change": may,
        }
        return render(request, "usage/reconciliations.html", context)


class ReconciliationImportView(ScopedView):
    """``/costs/reconciliation/import/``: takes a file, whole or not at all."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "reconciliation.change"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self._page(self._form())

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = self._form(request.POST, request.FILES)
        if not form.is_valid():
            return self._page(form, status=400)
        file = form.cleaned_data["file"]
        try:
            export = provider_export_import(
                actor=self.actor,
                organisation=self.choice.organisation,
                provider=form.cleaned_data["provider"],
                simulated=self.choice.simulated,
                file_name=file.name or "export",
                content=file.read(),
            )
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(form, status=400)
        toast(request, f"{export.shape_label} imported: {export.name}")
        return redirect("costs:reconciliation", export_id=export.pk)

    def _form(self, *data: Any) -> ImportForm:
        return ImportForm(*data, providers=providers_seen(self.choice.scope, now=clock.now()))

    def _page(self, form: ImportForm, *, status: int = 200) -> HttpResponseBase:
        context = {"choice": self.choice, "tabs": cost_tabs("costs:reconciliations"), "form": form}
        return render(self.request, "usage/reconciliation_import.html", context, status=status)


class OneReconciliationMixin(ScopedView):
    """A view of one import of the chosen organisation."""

    def subject(self) -> ProviderExport:
        """Raises Http404."""
        found = ProviderExport.objects.filter(organisation=self.choice.organisation, pk=self.kwargs["export_id"]).first()
        if found is None:
            raise Http404("There is no such import in this organisation.")
        return found


class ReconciliationView(OneReconciliationMixin):
    """``/costs/reconciliation/<id>/``: what the provider says beside what was recorded; CSV of the same lines."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "budget.view"

    def get(self, request: HttpRequest, export_id: UUID) -> HttpResponseBase:
        export = self.subject()
        found = comparison(export)
        tokens = found.whole is None or found.whole.tokens_theirs is not None
        money = found.whole is None or found.whole.cost_theirs is not None
        wanted = request.GET.get("state", "")
        wanted = wanted if wanted in STATES else ""
        listing = listing_build(
            request.GET,
            label="days and models",
            columns=tuple(column for column in LINES if (tokens or column not in TOKENS) and (money or column not in MONEY)),
            rows=[line for line in found.lines if not wanted or line.state == wanted],
            default_sort="day",
            nothing_yet=Empty(
                "nothing-yet", "Nothing on either side", "The export has no amount, and no request came through in its days."
            ),
            chips=[Chip("State", STATES[wanted].label, "state")] if wanted else [],
        )
        if request.GET.get("format") == "csv":
            return listing.csv("bulkhead-reconciliation.csv")
        context = {
            "choice": self.choice,
            "tabs": cost_tabs("costs:reconciliations"),
            "crumbs": (("Reconciliation", reverse("costs:reconciliations")),),
            "export": export,
            "found": found,
            "whole": found.whole,
            "tokens": tokens,
            "money": money,
            "counts": [(STATES[name], sum(line.state == name for line in found.lines)) for name in STATES],
            "listing": listing,
            "may_change": self.choice.may("reconciliation.change"),
        }
        return render(request, "usage/reconciliation.html", context)


class ReconciliationRemoveView(OneReconciliationMixin, ActionView):
    """``/costs/reconciliation/<id>/remove/``: forgets an import."""

    permission = "reconciliation.change"
    reversible: ClassVar[bool] = False

    def change(self, reason: str) -> str:
        name = self.object.name
        provider_export_remove(actor=self.actor, export=self.object, reason=reason)
        return str(name)

    def done_url(self) -> str:
        return reverse("costs:reconciliations")

    def done_message(self, result: Any) -> str:
        return f"Import {result} removed"
