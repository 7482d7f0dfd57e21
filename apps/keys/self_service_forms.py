"""Forms of self-service and of imports: asking for a key, a team's bounds, a file of keys."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

from django import forms

from apps.audit.errors import ServiceError
from apps.contracts.limits import MEASURES, AmountError, amount_read
from apps.contracts.money import MoneyError, dollars_read, dollars_text
from apps.keys import choices
from apps.keys.forms import KeyForm, split
from apps.keys.models import KeyTemplate
from apps.keys.wishes import Wish
from apps.ownership.models import Service, Team

MOST_BYTES = 1024 * 1024
"""Of a file on the page; larger ones go by the command line."""


class WallsMixin(forms.Form):
    """A number for each kind of limit, and a budget with its window; empty: none."""

    budget = forms.CharField(required=False, max_length=40, label="Budget in dollars", help_text="A wall: what does not fit is refused.")
    budget_window = forms.ChoiceField(required=False, choices=choices.WINDOWS, initial="month", label="Window of the budget")

    def add_limits(self) -> None:
        """The fields of limits, whatever kinds there are."""
        for kind, measure in MEASURES.items():
            words = measure.words[:1].upper() + measure.words[1:]
            self.fields[kind] = forms.CharField(required=False, max_length=20, label=words)

    def read_walls(self, values: dict[str, Any]) -> None:
        """``limits`` and ``budget_nano`` from what was typed, problems beside their fields."""
        values["limits"] = {}
        for kind in MEASURES:
            text = (values.get(kind) or "").strip()
            try:
                if text:
                    values["limits"][kind] = amount_read(text)
            except AmountError as error:
                self.add_error(kind, str(error))
        values["budget_nano"] = 0
        try:
            if text := (values.get("budget") or "").strip():
                values["budget_nano"] = dollars_read(text)
        except MoneyError as error:
            self.add_error("budget", str(error))
        values["budget_window"] = values.get("budget_window") or "month"


class AskForm(KeyForm, WallsMixin):
    """A key as somebody wishes for it. ``service`` is the team, or one of its services."""

    reason = forms.CharField(
        required=False,
        max_length=2_000,
        label="What for",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Kept with the key. Where somebody has to decide, it is all that they read.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.fields["priority"], self.fields["explain"]
        owner = self.fields["service"]
        owner.required, owner.label = True, "Team"
        self.fields["all_routes"].help_text = "Every route that the team's template has, where you make the key by yourself."
        self.fields["expires_at"].help_text = "Empty: as late as the team's template allows, or never."
        owner.choices = [("", "Choose the team that the key is of"), *list(cast(Any, owner).choices)[1:]]  # type: ignore[attr-defined]
        self.add_limits()
        first, last = ["service", "name", "environment", "reason"], ["budget", "budget_window"]
        self.order_fields([*first, *(name for name in self.fields if name not in (*first, *last)), *last])

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        self.read_walls(values)
        return values

    @property
    def team(self) -> Team:
        """Whose the key is to be."""
        owner = self._owner
        return owner.team if isinstance(owner, Service) else owner

    def wish(self) -> Wish:
        """What was asked for."""
        values, owner = self.cleaned_data, self._owner
        return Wish(
            name=values["name"],
            environment=values["environment"],
            service=owner.slug if isinstance(owner, Service) else "",
            routes=("*",) if values["all_routes"] else tuple(values["routes"]),
            feature=values["feature"].strip(),
            tags=tuple(values["tags"]),
            addresses=tuple(values["addresses"]),
            expires_at=values["expires_at"],
            limits=values["limits"],
            budget_nano=values["budget_nano"],
            budget_window=values["budget_window"],
        )

    @property
    def _owner(self) -> Team | Service:
        found: Team | Service = self.fields["service"].found[self.cleaned_data["service"]]  # type: ignore[attr-defined]
        return found


class CreateForm(KeyForm, WallsMixin):
    """A new key with the limits and the budget that hold it from its first request on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_limits()
        last = ("budget", "budget_window")
        self.order_fields([*(name for name in self.fields if name not in last), *last])

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        self.read_walls(values)
        return values

    def facts(self) -> dict[str, Any]:
        """The arguments of ``key_create``, less the name."""
        return {**super().facts(), **{name: self.cleaned_data[name] for name in ("limits", "budget_nano", "budget_window")}}


class TemplateForm(WallsMixin):
    """A team's bounds. Field names are the service's."""

    environments = forms.MultipleChoiceField(
        choices=choices.ENVIRONMENTS, widget=forms.CheckboxSelectMultiple, help_text="Where their keys may run."
    )
    routes = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 2}), initial="*", help_text="Names of routes, separated by commas; * for every route."
    )
    most_keys = forms.IntegerField(
        initial=10, min_value=1, label="Keys at most", help_text="Active keys that the team may have when a member makes one."
    )
    longest_days = forms.IntegerField(
        required=False, min_value=1, label="Longest life in days", help_text="A key without an expiry gets this one. Empty: no end."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["budget"].help_text = "The most that one key may have, and what it gets where its maker asks for none."
        self.add_limits()
        for kind in MEASURES:
            self.fields[kind].help_text = "The most of one key. Empty: no bound."
        self.order_fields(["environments", "routes", "most_keys", "longest_days", *MEASURES, "budget", "budget_window"])

    def clean_routes(self) -> list[str]:
        return split(self.cleaned_data["routes"])

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        self.read_walls(values)
        return values

    def facts(self) -> dict[str, Any]:
        """The arguments of ``key_template_set``, less the team."""
        names = ("environments", "routes", "most_keys", "longest_days", "limits", "budget_window")
        return {**{name: self.cleaned_data[name] for name in names}, "budget_nano": self.cleaned_data["budget_nano"] or None}


def template_initial(row: KeyTemplate | None) -> dict[str, Any]:
    """A template's values as the form has them."""
    if row is None:
        return {"routes": "*", "environments": ["development", "staging"], "most_keys": 10, "longest_days": 90, "budget_window": "month"}
    return {
        "environments": list(row.environments),
        "routes": ", ".join(row.routes),
        "most_keys": row.most_keys,
        "longest_days": row.longest_days,
        "budget": dollars_text(row.budget_nano) if row.budget_nano else "",
        "budget_window": row.budget_window,
        **{kind: str(amount) for kind, amount in row.limits.items()},
    }


class KeysFileForm(forms.Form):
    """A file of keys; after it was looked at, what it held travels in the page, so that exactly that is imported."""

    file = forms.FileField(
        required=False,
        label="CSV or JSON",
        max_length=200,
        allow_empty_file=True,
        help_text="A header line with at least a name, or a JSON list of objects. Nothing is made before you have seen the report.",
        widget=forms.FileInput(attrs={"accept": ".csv,.json,text/csv,application/json"}),
    )
    content = forms.CharField(required=False, widget=forms.HiddenInput, strip=False)
    reason = forms.CharField(required=False, max_length=2_000, label="Reason", help_text="Kept in the audit with every key.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["file"].required = not self.data.get("content")

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        file = values.get("file")
        if "file" in self.errors:
            return values
        if file is not None and file.size > MOST_BYTES:
            self.add_error("file", "The file is larger than 1 MB: use manage.py import-keys, which takes larger ones.")
        elif file is not None:
            values["bytes"] = file.read()
        else:
            try:
                values["bytes"] = unpacked(values["content"])
            except ValueError:
                self.add_error("file", "What was looked at is not in the page any more: choose the file again.")
        return values


def packed(content: bytes) -> str:
    """A file's content for a hidden field."""
    return base64.b64encode(zlib.compress(content, 6)).decode()


def unpacked(text: str) -> bytes:
    """What ``packed`` was given. Raises ValueError, also for what would become larger than a file may be."""
    try:
        opener = zlib.decompressobj()
        content = opener.decompress(base64.b64decode(text, validate=True), MOST_BYTES + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError("not packed here") from error
    if len(content) > MOST_BYTES or not opener.eof:
        raise ValueError("too large")
    return content


def bounds_words(row: KeyTemplate) -> Iterator[str]:
    """A template in short phrases."""
    yield f"at most {row.most_keys} keys"
    yield " or ".join(row.environments)
    yield "every route" if "*" in row.routes else f"routes {', '.join(row.routes[:5])}" + (" and more" if len(row.routes) > 5 else "")
    yield f"for at most {row.longest_days} days" if row.longest_days else "without an end"
    for kind, amount in cast(Mapping[Any, int], row.limits).items():
        yield f"{amount:,} {MEASURES[kind].words}"
    if row.budget_nano:
        yield f"${dollars_text(row.budget_nano)} per {row.budget_window}"


def refusal_of(error: ServiceError, form: forms.Form) -> None:
    """A service's refusal beside the field that it is about."""
    form.add_error(error.field if error.field in form.fields else None, error.message)
