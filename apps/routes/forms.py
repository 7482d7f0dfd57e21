"""The form of a route. Its targets are an ordered list that works by keyboard and without script: each row has buttons that
send the form back reshaped (``reshape``), and a row without a provider and a model is no target."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.http import QueryDict
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from apps.accounts.models import Organisation
from apps.contracts.snapshot import Deadlines
from apps.ownership.models import Team
from apps.routes import choices
from apps.routes.choices import Place
from apps.routes.resilience import OPTIONS, OWN_DEADLINES, TargetSpec
from apps.routes.resilience_form import ResilienceForm, seconds_text
from apps.routes.rules import MAX_ATTEMPTS, MAX_TARGETS

RESHAPE = "reshape"
"""Name of the buttons that reshape a list: ``<field>:<verb>:<row>``."""
_FOCUS = "reshape-focus"
DEFAULTS = Deadlines()


_NUMBERS = ("weight", "priority", "window", "max_concurrency")
_SECONDS = OWN_DEADLINES
_TEXTS = ("variant", "capabilities")
_COLUMNS = ("place", "model", *_NUMBERS, *_SECONDS, *_TEXTS)
_TICKS = ("prefill", "reasoning", "expensive")
"""A target's options in the form: ``<field>-<option>`` once per row; ticks carry the number of their row."""
NUMBER_LABELS = {
    "weight": ("Weight", "Share under “By weight”"),
    "priority": ("Priority", "Lower is tried first"),
    "window": ("Window", "Context in tokens, 0: as the catalogue says"),
    "max_concurrency": ("At once", "Requests per proxy process, 0: no cap"),
}
SECONDS_LABELS = {
    "connect_ms": ("Connect", "Seconds; empty: the route's"),
    "first_byte_ms": ("First byte", "Seconds; streams only"),
    "first_token_ms": ("First token", "Seconds; streams only"),
    "idle_ms": ("Idle", "Seconds between two pieces"),
    "total_ms": ("One attempt", "Seconds; then another target is tried, also for JSON"),
}
TICK_LABELS = {
    "prefill": "Continues a begun answer",
    "reasoning": "Thinks before its first token",
    "expensive": "Left out when the route is limited",
}


class TargetsInput(forms.Widget):
    """Rows of a place and a model, in order, with buttons to add, remove and move."""

    use_fieldset = True

    def __init__(self, places: Sequence[Place], models: Sequence[str]) -> None:
        super().__init__()
        self.places = places
        self.models = models

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[dict[str, Any]]:
        focus = data.get(_FOCUS, "").split(":")
        rows = sent_rows(data, name)[: MAX_TARGETS + 1]
        if len(focus) == 3 and focus[0] == name and focus[2].isdigit() and int(focus[2]) < len(rows):
            rows[int(focus[2])]["focus"] = focus[1]
        return rows

    def id_for_label(self, id_: str | None) -> str:
        return ""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        rows = list(value or [])
        if not rows and self.is_required:
            rows = [blank_row()]
        known, typed = {place.value for place in self.places}, len(self.places) > choices.MOST_PLACES
        for row in rows:
            row["unknown"] = row["place"] not in known and row["place"] != "" and not typed
            row["numbers"] = [(option, *NUMBER_LABELS[option], row[option]) for option in _NUMBERS]
            row["seconds"] = [(option, *SECONDS_LABELS[option], row[option]) for option in _SECONDS]
            row["ticks"] = [(option, label, row[option]) for option, label in TICK_LABELS.items()]
            row["chosen"] = any(row[option] != default for option, default in blank_row().items() if option not in ("place", "model"))
        html = render_to_string(
            "routes/targets_input.html",
            {
                "name": name,
                "rows": rows,
                "places": self.places,
                "typed": typed,
                "models": self.models,
                "full": len(rows) >= MAX_TARGETS,
                "attrs": attrs or {},
            },
        )
        return mark_safe(html)


class TargetsField(forms.Field):
    """An ordered chain of targets as ``TargetSpec``."""

    def clean(self, value: Any) -> list[TargetSpec]:
        specs = []
        for number, row in enumerate(value or [], 1):
            if not row["place"] and not row["model"]:
                continue
            if not row["place"] or not row["model"]:
                missing = "provider" if not row["place"] else "model"
                raise forms.ValidationError(f"Target {number} has no {missing}: fill it in, or remove the target.")
            provider, _, endpoint = row["place"].partition("/")
            specs.append(TargetSpec(provider, row["model"], endpoint, **_options(row, number)))
        if self.required and not specs:
            raise forms.ValidationError("A route needs at least one target: choose a provider and name its model.")
        return specs


def _options(row: dict[str, Any], number: int) -> dict[str, Any]:
    """A row's options as services take them; what is left empty is the default. Raises ValidationError."""
    found: dict[str, Any] = {option: bool(row[option]) for option in _TICKS}
    for option in _NUMBERS:
        text = row[option].strip()
        if text and not (text.isascii() and text.isdigit() and len(text) < 12):
            raise forms.ValidationError(f"Target {number}: {NUMBER_LABELS[option][0].lower()} takes a whole number, not {text[:40]!r}.")
        found[option] = int(text) if text else OPTIONS[option]
    for option in _SECONDS:
        found[option] = _milliseconds(row[option].strip(), number, SECONDS_LABELS[option][0].lower())
    found["variant"] = row["variant"].strip()
    words = [word for word in row["capabilities"].replace(",", " ").split() if word != "none"]
    found["capabilities"] = tuple(words) if row["capabilities"].strip() else None
    return found


def _milliseconds(text: str, number: int, label: str) -> int:
    """Seconds as a person types them; empty is 0, the route's own. Raises ValidationError."""
    try:
        seconds = Decimal(text or "0")
    except InvalidOperation:
        seconds = Decimal(-1)
    if not 0 <= seconds <= 86_400 or seconds * 1000 % 1:
        raise forms.ValidationError(f"Target {number}: {label} takes seconds, such as 2 or 0.25, not {text[:40]!r}.")
    return int(seconds * 1000)


def blank_row() -> dict[str, Any]:
    """A row of nothing, with every option at its default."""
    numbers = {option: str(OPTIONS[option]) for option in _NUMBERS}
    return {"place": "", "model": "", **numbers, **dict.fromkeys((*_SECONDS, *_TEXTS), ""), **dict.fromkeys(_TICKS, False)}


def sent_rows(data: Any, name: str) -> list[dict[str, Any]]:
    """The rows of a list as the form sent them; an option that was not sent is at its default."""
    rows = []
    columns = {part: data.getlist(f"{name}-{part}") for part in _COLUMNS}
    ticked = {part: set(data.getlist(f"{name}-{part}")) for part in _TICKS}
    for at in range(min(len(columns["place"]), len(columns["model"]))):
        row = blank_row()
        row |= {part: values[at].strip() for part, values in columns.items() if at < len(values)}
        rows.append(row | {part: str(at) in numbers for part, numbers in ticked.items()})
    return rows


def reshaped(data: QueryDict) -> QueryDict | None:
    """The sent form with a row added, removed or moved, as the pressed button says; None: no such button was pressed."""
    asked = data.get(RESHAPE, "")
    name, _, rest = asked.partition(":")
    verb, _, at = rest.partition(":")
    if name not in ("targets", "fallback"):
        return None
    rows = sent_rows(data, name)
    row = int(at) if at.isascii() and at.isdigit() and len(at) < 4 else -1
    focus = verb
    if verb == "add" and len(rows) < MAX_TARGETS:
        rows.append(blank_row())
        row = len(rows) - 1
    elif verb == "remove" and 0 <= row < len(rows):
        del rows[row]
        row = min(row, max(len(rows) - 1, 0))
    elif verb == "up" and 0 < row < len(rows):
        rows[row - 1], rows[row] = rows[row], rows[row - 1]
        row -= 1
        focus = "up" if row else "down"
    elif verb == "down" and 0 <= row < len(rows) - 1:
        rows[row], rows[row + 1] = rows[row + 1], rows[row]
        row += 1
        focus = "down" if row < len(rows) - 1 else "up"
    for part in _COLUMNS:
        data.setlist(f"{name}-{part}", [each[part] for each in rows])
    for part in _TICKS:
        data.setlist(f"{name}-{part}", [str(at) for at, each in enumerate(rows) if each[part]])
    data[_FOCUS] = f"{name}:{focus}:{row}"
    return data


def chain_rows(specs: Sequence[TargetSpec]) -> list[dict[str, Any]]:
    """A chain as the widget's rows."""
    rows = []
    for spec in specs:
        row = blank_row() | {"place": f"{spec.provider}/{spec.endpoint}" if spec.endpoint else spec.provider, "model": spec.model}
        row |= {option: str(getattr(spec, option)) for option in _NUMBERS} | {option: getattr(spec, option) for option in _TICKS}
        row |= {option: seconds_text(ms) for option in _SECONDS if (ms := getattr(spec, option))}
        row["variant"] = spec.variant
        row["capabilities"] = "" if spec.capabilities is None else ", ".join(spec.capabilities) or "none"
        rows.append(row)
    return rows


def _seconds(label: str, help_text: str, default_ms: int) -> forms.DecimalField:
    return forms.DecimalField(
        label=label,
        help_text=f"{help_text} In seconds; default {seconds_text(default_ms)}.",
        min_value=0.001,
        max_value=86_400,
        decimal_places=3,
        initial=seconds_text(default_ms),
    )


class RouteForm(ResilienceForm):
    """What a person decides about a route. Fields are named as the service's arguments; deadlines are ``deadlines_<part>``, in seconds."""

    name = forms.CharField(
        max_length=120,
        help_text="What apps send as “model”: A-Z a-z 0-9 . _ : / @ + -; * at the end stands for any ending. It never changes, "
        "because apps name it; add an alias instead.",
    )
    targets = TargetsField(help_text="Tried from the top: the next one when one fails before its first byte.")
    fallback = TargetsField(required=False, label="Fallback chain", help_text="Used instead of the targets while a fallback flag is on.")
    aliases = forms.CharField(
        required=False, max_length=8_000, widget=forms.Textarea(attrs={"rows": 2}), help_text="Other names for it, separated by commas."
    )
    owner = forms.ModelChoiceField(Team.objects.none(), required=False, empty_label="Nobody", help_text="The team to ask about it.")
    runbook = forms.CharField(
        max_length=300, required=False, help_text="What to do when it fails: an address, or the short name of a runbook."
    )
    deadlines_connect = _seconds("Connect deadline", "To connect and complete TLS.", DEFAULTS.connect_ms)
    deadlines_first_byte = _seconds("First byte deadline", "Streams: until the answer begins.", DEFAULTS.first_byte_ms)
    deadlines_idle = _seconds("Idle deadline", "Between two pieces of an answer.", DEFAULTS.idle_ms)
    deadlines_total = _seconds("Total deadline", "The whole request with all its attempts.", DEFAULTS.total_ms)
    max_attempts = forms.IntegerField(
        label="Most attempts", min_value=1, max_value=MAX_ATTEMPTS, initial=3, help_text="Of one request, over all targets. Default 3."
    )
    max_output_tokens = forms.IntegerField(
        label="Output cap",
        min_value=1,
        initial=4096,
        help_text="Tokens asked for when the app names no limit; bounds what a budget reserves. Default 4,096.",
    )
    unpriced = forms.ChoiceField(
        label="A target without a price",
        choices=choices.UNPRICED,
        help_text="Under a hard budget: refuse the request, or count its cost as zero.",
    )
    default_price = forms.CharField(
        label="Default price",
        required=False,
        max_length=300,
        help_text="Before that: the price of this model of the price book, as provider/model. Empty: none.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}),
    )

    def __init__(
        self,
        *args: Any,
        organisation: Organisation,
        places: Sequence[Place],
        models: Sequence[str],
        fixed_name: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, places=places, **kwargs)
        self.fields["owner"].queryset = Team.objects.filter(organisation=organisation).order_by("name")  # type: ignore[attr-defined]
        for name in ("targets", "fallback"):
            field = self.fields[name]
            field.widget = TargetsInput(places, models)
            field.widget.is_required = field.required
        if fixed_name:
            self.fields["name"].disabled = True

    def clean_aliases(self) -> list[str]:
        text: str = self.cleaned_data["aliases"]
        return [part for part in (piece.strip() for piece in text.replace("\n", ",").split(",")) if part]

    def facts(self) -> dict[str, Any]:
        """The arguments of the services, less the name."""
        values = self.cleaned_data
        parts = {name: int(values[f"deadlines_{name}"] * 1000) for name in ("connect", "first_byte", "idle", "total")}
        return {
            "targets": values["targets"],
            "fallback": values["fallback"],
            "aliases": values["aliases"],
            "owner": values["owner"],
            "runbook": values["runbook"],
            "deadlines": Deadlines(**{f"{name}_ms": value for name, value in parts.items()}),
            "max_attempts": values["max_attempts"],
            "max_output_tokens": values["max_output_tokens"],
            "unpriced": values["unpriced"],
            "default_price": values["default_price"],
            "resilience": self.resilience(),
        }
