"""The one panel that says whom to ask about a thing: on the page of every provider, route, key, budget, limit and flag."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from apps.accounts.pages import ScopedView
from apps.ownership.owned import Thing, owned_kinds
from apps.ownership.reach import reach_of
from apps.ownership.selectors import runbook_link
from apps.ui.fragments import tagged


class OwnerOfView(ScopedView):
    """``/ownership/of/<kind>/<id>/``: the team that answers for it, who is on call for that team now, and what to do when it fails."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "ownership.view"

    def get(self, request: HttpRequest, thing: str, object_id: UUID) -> HttpResponseBase:
        owned = owned_kinds().get(thing)
        organisation = self.choice.organisation
        row: Any = owned.rows(organisation).filter(pk=object_id).first() if owned is not None else None
        if owned is None or row is None:
            raise Http404("There is no such thing in this organisation.")
        page = row.pk if owned.argument == "pk" else getattr(row, owned.argument)
        fragment = bool(request.htmx)  # type: ignore[attr-defined]
        context = {
            "choice": self.choice,
            "thing": Thing(thing, str(row.pk), row.name, reverse(owned.url, args=[page])),
            "reach": reach_of(organisation, team=row.held_by),
            "runbook": runbook_link(organisation, getattr(row, "runbook", "")),
            "may_give": self.choice.may("ownership.change"),
            "url": request.path,
            "fragment": fragment,
            "layout": "ui/fragment.html" if fragment else "ui/base.html",
        }
        response = render(request, "ownership/owner.html", context)
        return tagged(request, response) if fragment else response
