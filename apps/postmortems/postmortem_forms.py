"""What people decide about postmortems, templates, the vocabulary and the status page. Services judge it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import Any

from django import forms

from apps.accounts.models import Organisation, User
from apps.alerts.models import AlertChannel
from apps.keys.models import VirtualKey
from apps.postmortems import postmortem_choices as choices
from apps.postmortems.incident_selectors import people_of
from apps.postmortems.models import Factor, Postmortem, StatusComponent
from apps.postmortems.postmortem_choices import Section
from apps.postmortems.status_models import AUDIENCES
from apps.postmortems.status_services import ComponentSpec


def _area(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, "spellcheck": "false"})


class PersonField(forms.ChoiceField):
    """Somebody of the organisation, or nobody; cleans to the person or None. Who is chosen already stays to be chosen, also once they left:
    the service says so then."""

    def bind(self, organisation: Organisation, *, nobody: str = "Nobody", held: User | None = None) -> None:
        """Offer the organisation's people: one query."""
        people = people_of(organisation)
        if held is not None and held.pk not in {person.pk for person in people}:
            people.append(held)
        self.known = {str(person.pk): person for person in people}
        first = [("", nobody)] if nobody else [("", "Choose somebody")]
        self.choices = [
            *first,
            *((pk, f"{person.name} ({person.email})" if person.name else person.email) for pk, person in self.known.items()),
        ]

    def clean(self, value: Any) -> User | None:
        return self.known.get(super().clean(value))


class FactsForm(forms.Form):
    """What a postmortem says beside its text."""

    owner = PersonField(required=False, help_text="Sees to it that it is written.")
    detected = forms.ChoiceField(label="Noticed by", required=False, choices=list(choices.DETECTED.items()))
    trigger = forms.ChoiceField(label="Set off by", required=False, choices=list(choices.TRIGGERS.items()))
    factors = forms.MultipleChoiceField(
        label="Contributing factors", required=False, widget=forms.CheckboxSelectMultiple,
        help_text="What made it possible or worse. Patterns are made of these: prefer a tag that is there to a new one.",
    )  # fmt: skip
    due_on = forms.DateField(
        label="Due on",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="The end of that day, UTC.",
    )

    def __init__(self, *args: Any, postmortem: Postmortem, tags: list[Factor], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].bind(postmortem.organisation, held=postmortem.owner)  # type: ignore[attr-defined]
        self.fields["factors"].choices = [(tag.slug, tag.title) for tag in tags]  # type: ignore[attr-defined]

    @property
    def due_at(self) -> datetime | None:
        """The end of the day."""
        day = self.cleaned_data["due_on"]
        return datetime.combine(day, time(23, 59, 59), UTC) if day else None


_SECTION = re.compile(r"^(?P<key>[^|:]*?)(?P<required>\*?)\s*[|:]\s*(?P<title>[^|]*)(?:\|(?P<help>.*))?$")


def sections_written(sections: tuple[Section, ...]) -> str:
    """One section a line: ``summary* | Summary | What happened``; a star: it is required."""
    return "\n".join(
        f"{section.key}{'*' if section.required else ''} | {section.title}{f' | {section.help}' if section.help else ''}"
        for section in sections
    )


def sections_read(text: str) -> list[Section]:
    """The same, read. Raises forms.ValidationError with the line."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _SECTION.match(line.strip())
        if match is None:
            raise forms.ValidationError(
                f"Line {number}: write it as short-name | Title | Help, with * after the short name where it is required."
            )
        found.append(Section(match["key"].strip(), match["title"].strip(), (match["help"] or "").strip(), bool(match["required"])))
    return found


class TemplateForm(forms.Form):
    """What postmortems are made of."""

    sections = forms.CharField(
        widget=_area(12), help_text="One a line: short-name | Title | Help. A * after the short name: a review takes it. Texts are kept by "
        "the short name, so keep those. Postmortems that are begun keep their sections.",
    )  # fmt: skip
    due_days = forms.IntegerField(label="Due after", min_value=1, max_value=60, help_text="Business days after the incident was over.")
    sign_offs = forms.IntegerField(
        label="Sign-offs", min_value=0, max_value=5, help_text="By people who did not write it. 0 only where nobody else is there."
    )
    draft_route = forms.ChoiceField(
        label="Drafts by a model: route", required=False,
        help_text="Off without one. Its answer is marked as a draft and never becomes text by itself. "
        "What the evidence and the timeline hold is sent to it.",
    )  # fmt: skip
    draft_key = forms.ChoiceField(label="Drafts by a model: key", required=False, help_text="Pays for it, with its limits and budgets.")
    tracker = forms.ChoiceField(
        label="Tracker",
        required=False,
        help_text="A webhook among the channels that hears of action items: made, done, declined, open again.",
    )

    def __init__(self, *args: Any, organisation: Organisation, routes: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keys = {
            str(row.pk): row for row in VirtualKey.objects.filter(organisation=organisation, state="active").order_by("name")[:500]
        }
        hooks = AlertChannel.objects.filter(organisation=organisation, kind="webhook", person=None).order_by("name")
        self.channels = {str(row.pk): row for row in hooks[:200]}
        self.fields["draft_route"].choices = [("", "None: no drafts"), *((name, name) for name in routes)]  # type: ignore[attr-defined]
        self.fields["draft_key"].choices = [("", "None"), *((pk, row.name) for pk, row in self.keys.items())]  # type: ignore[attr-defined]
        self.fields["tracker"].choices = [("", "None"), *((pk, row.name) for pk, row in self.channels.items())]  # type: ignore[attr-defined]

    def clean_sections(self) -> list[Section]:
        return sections_read(self.cleaned_data["sections"])

    def facts(self) -> dict[str, Any]:
        """For the service."""
        given = self.cleaned_data
        return {
            "sections": given["sections"], "due_days": given["due_days"], "sign_offs": given["sign_offs"],
            "draft_route": given["draft_route"],
            "draft_key": self.keys.get(given["draft_key"]), "tracker": self.channels.get(given["tracker"]),
        }  # fmt: skip


class FactorForm(forms.Form):
    """One tag of the vocabulary."""

    slug = forms.CharField(label="Short name", max_length=60, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}))
    title = forms.CharField(max_length=100)
    help = forms.CharField(label="What it means", max_length=300, required=False)
    retired = forms.BooleanField(label="Offer it no more", required=False, help_text="Postmortems that have it keep it.")


class StatusPageForm(forms.Form):
    """Who sees the status page, and its components."""

    audience = forms.ChoiceField(label="Who may see it", choices=list(AUDIENCES.items()))
    title = forms.CharField(max_length=100)
    text = forms.CharField(label="On top", required=False, max_length=2000, widget=_area(3), help_text="Markdown.")
    components = forms.CharField(
        required=False, widget=_area(8), help_text="One a line: Name | routes: chat, embed | services: checkout | help: what it is. "
        "Without routes and services a component stands for everything.",
    )  # fmt: skip

    def clean_components(self) -> list[ComponentSpec]:
        return [component_read(line, number) for number, line in enumerate(self.cleaned_data["components"].splitlines(), 1) if line.strip()]


def component_written(row: StatusComponent | ComponentSpec) -> str:
    """``Chat | routes: chat | help: Answers questions``."""
    parts = [row.name]
    if row.routes:
        parts.append(f"routes: {', '.join(row.routes)}")
    if row.services:
        parts.append(f"services: {', '.join(row.services)}")
    if row.help:
        parts.append(f"help: {row.help}")
    return " | ".join(parts)


def component_read(line: str, number: int = 1) -> ComponentSpec:
    """The same, read. Raises forms.ValidationError with the line's number."""
    name, *rest = [part.strip() for part in line.split("|")]
    facts: dict[str, str] = {}
    for part in rest:
        word, colon, value = part.partition(":")
        if not colon or word.strip() not in ("routes", "services", "help"):
            raise forms.ValidationError(f"Line {number}: after the name write routes: …, services: … or help: …, not “{part[:60]}”.")
        facts[word.strip()] = value.strip()
    lists = {word: tuple(one.strip() for one in facts.get(word, "").split(",") if one.strip()) for word in ("services", "routes")}
    return ComponentSpec(name, facts.get("help", ""), **lists)
