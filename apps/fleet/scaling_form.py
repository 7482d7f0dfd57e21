"""A deployment's scaling policy as fields of a form: what ``scaling_document`` reads, field by field. Nothing is kept of an empty field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from django import forms

from apps.fleet.scaling import Policy, PolicyError
from apps.fleet.scaling_document import DAYS, MAX_FLOORS, policy_read

PREFIX = "scaling_"
Unit = Literal["number", "percent", "seconds", "count", "text"]
DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Policy)}
_LINE = re.compile(r"(?P<least>\d{1,4})(?:\s+(?P<days>[a-z,\s-]+?))?(?:\s+(?P<begin>\d\d:\d\d)\s*-\s*(?P<end>\d\d:\d\d))?")
HOW_FLOORS = "write 2 mon-fri 08:00-18:00: how many, on which days, from when to when; a number alone holds always"


@dataclass(frozen=True, slots=True)
class Option:
    """One field. name: as in the document."""

    name: str
    label: str
    unit: Unit
    text: str = ""
    nought: str = "left out"
    """What 0 means, where that is the default."""

    @property
    def field(self) -> str:
        return PREFIX + self.name

    @property
    def help(self) -> str:
        """With what holds where it is left empty."""
        default = shown(self, DEFAULTS[self.name])
        return f"{self.text} Empty: {self.nought if default in ('0', '') else default}.".strip()


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    text: str
    options: tuple[Option, ...]


GROUPS = (
    Group(
        "What asks for replicas",
        "The greatest need counts; a signal that nobody tells is left out. 0 leaves one out.",
        (
            Option("waiting_each", "Waiting, for each", "number", "Requests in line that one replica may well have."),
            Option("tokens_each", "Tokens in flight, for each", "number", "Read and written, of running requests."),
            Option("kv_target", "KV cache, %", "percent", "How full the caches may well be."),
            Option("ttft_target", "First token within, s", "seconds", "Its 95th percentile."),
        ),
    ),
    Group(
        "How fast",
        "Up once it was asked for so long; down once nothing asked for as many for so long.",
        (
            Option("up_after", "Up after, s", "seconds", nought="at once"),
            Option("down_after", "Down after, s", "seconds"),
            Option("up_most", "Up at most", "count", "Replicas within the time below."),
            Option("down_most", "Down at most", "count", "Replicas within the time below."),
            Option("limit_seconds", "Within, s", "seconds", "What the two limits count over."),
            Option("idle_after", "To zero after, s", "seconds", "Without a request; only where the least is 0. From zero it goes at once."),
            Option("look_back", "Mean over, s", "seconds", "What a signal's value is the mean of."),
            Option("rise", "Or over, s", "seconds", "Where that mean is higher: load that rises is seen at once."),
        ),
    ),
    Group(
        "What holds it",
        "Above these shares nothing goes down. They never ask for more: a GPU is busy whatever the load is.",
        (
            Option("power_guard", "GPU power, %", "percent", nought="no guard"),
            Option("memory_guard", "GPU memory, %", "percent", nought="no guard"),
            Option("utilisation_guard", "GPU busy, %", "percent", nought="no guard"),
        ),
    ),
)
OPTIONS = {option.name: option for group in GROUPS for option in group.options}
FLOORS, ZONE = PREFIX + "floors", PREFIX + "zone"


def shown(option: Option, value: Any) -> str:
    """As the field has it: shares in percent, no needless digits."""
    if value is None or value == "":
        return ""
    return f"{float(value) * 100:g}" if option.unit == "percent" else f"{float(value):g}"


class ScalingForm(forms.Form):
    """Fields of ``GROUPS``, and the floors at set times. ``scaling_document()`` after ``clean``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for option in OPTIONS.values():
            if option.name in DEFAULTS:
                self.fields[option.field] = forms.CharField(
                    required=False, max_length=20, label=option.label, help_text=option.help,
                    widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
                )  # fmt: skip
        self.fields[FLOORS] = forms.CharField(
            required=False, max_length=2_000, label="At least so many at set times",
            widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
            help_text="One a line: 2 mon-fri 08:00-18:00. Over midnight where the end is earlier.",
        )  # fmt: skip
        self.fields[ZONE] = forms.CharField(
            required=False, max_length=60, label="Time zone of these times", help_text="Europe/Zurich. Empty: UTC."
        )

    def document_of(self, cleaned: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
        """The document of the fields; what has none stays as ``kept`` has it. Adds errors to the fields that cannot be read."""
        found = {name: value for name, value in kept.items() if PREFIX + name not in self.fields}
        for option in OPTIONS.values():
            text = str(cleaned.get(option.field, "")).strip().replace(",", ".").removesuffix("%").strip()
            if not text or option.field not in self.fields:
                continue
            try:
                found[option.name] = _value(option, text)
            except ValueError as error:
                self.add_error(option.field, str(error))
        try:
            if floors := floors_read(str(cleaned.get(FLOORS, ""))):
                found["floors"] = floors
        except ValueError as error:
            self.add_error(FLOORS, str(error))
        if zone := str(cleaned.get(ZONE, "")).strip():
            found["zone"] = zone
        return found

    def judge(self, document: Mapping[str, Any], *, least: int, most: int) -> None:
        """What only the whole can tell, beside the field that it is about."""
        try:
            policy_read(document, least=least, most=most)
        except PolicyError as error:
            self.add_error(*_said(str(error), most))


def scaling_initial(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields' values of a document."""
    values: dict[str, Any] = {option.field: shown(option, document.get(name)) for name, option in OPTIONS.items()}
    return {**values, FLOORS: floors_text(document.get("floors", [])), ZONE: document.get("zone", "")}


def _value(option: Option, text: str) -> float | int:
    """Raises ValueError, which says what to write."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text[:20]!r} is not a number: write one such as {shown(option, DEFAULTS[option.name])}.") from None
    if not 0 <= value < 1e9:
        raise ValueError("Use a number of 0 or more.")
    if option.unit == "percent" and value > 100:
        raise ValueError("Use 0 to 100: it is a share in percent.")
    if option.unit == "count":
        if value != int(value) or value < 1:
            raise ValueError("Use a whole number of 1 or more.")
        return int(value)
    if option.name in ("look_back", "limit_seconds") and not value:
        raise ValueError("Use more than 0 seconds.")
    return value / 100 if option.unit == "percent" else value


def _said(message: str, most: int) -> tuple[str | None, str]:
    """(field, what to do) of a policy's refusal."""
    if "every signal is left out" in message:
        return PREFIX + "waiting_each", "Every signal is left out, so nothing would ever ask for a replica: give one of the four a number."
    if "time zone" in message:
        return ZONE, f"{message[:1].upper()}{message[1:]}."
    if "floor" in message:
        return FLOORS, f"A floor asks for more than the {most} replicas at most: lower it, or raise “Replicas at most”."
    if "minimum" in message:
        return "least", f"{message[:1].upper()}{message[1:]}."
    return next((option.field for name, option in OPTIONS.items() if name in message), None), f"{message[:1].upper()}{message[1:]}."


# --- floors as lines ---


def floors_read(text: str) -> list[dict[str, Any]]:
    """``2 mon-fri 08:00-18:00`` a line. Raises ValueError, which says what to write."""
    found = []
    for line in filter(None, (line.strip().lower() for line in text.splitlines())):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{line[:60]!r} cannot be read: {HOW_FLOORS}.")
        floor: dict[str, Any] = {"minimum": int(match["least"])}
        if match["days"] and (days := _days(match["days"])) != list(DAYS):
            floor["days"] = days
        if match["begin"]:
            floor |= {"from": _time(match["begin"]), "to": _time(match["end"])}
            if floor["from"] == floor["to"]:
                raise ValueError(f"{line[:60]!r} ends when it begins: leave the times out for the whole day.")
        found.append(floor)
    if len(found) > MAX_FLOORS:
        raise ValueError(f"{len(found)} lines: use at most {MAX_FLOORS}.")
    return found


def _time(text: str) -> str:
    hour, minute = int(text[:2]), int(text[3:])
    if minute > 59 or hour > 24 or (hour == 24 and minute):
        raise ValueError(f"{text} is no time of the day: use 00:00 to 24:00.")
    return text


def _days(text: str) -> list[str]:
    chosen: set[str] = set()
    for part in filter(None, re.split(r"[,\s]+", re.sub(r"\s*-\s*", "-", text.strip()))):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{part!r} is no day: use {', '.join(DAYS)}, or a range such as mon-fri.")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        chosen |= {DAYS[at % 7] for at in range(begin, (end if end >= begin else end + 7) + 1)}
    return [day for day in DAYS if day in chosen]


def floors_text(floors: Any) -> str:
    """The lines of a document's floors."""
    lines = []
    for floor in floors if isinstance(floors, list) else []:
        days = floor.get("days", list(DAYS))
        said = "" if set(days) == set(DAYS) else f" {_range(days)}"
        times = f" {floor.get('from', '00:00')}-{floor.get('to', '24:00')}" if "from" in floor or "to" in floor else ""
        lines.append(f"{floor.get('minimum', 0)}{said}{times}")
    return "\n".join(lines)


def _range(days: list[str]) -> str:
    places = sorted(DAYS.index(day) for day in days if day in DAYS)
    if len(places) > 2 and places == list(range(places[0], places[-1] + 1)):
        return f"{DAYS[places[0]]}-{DAYS[places[-1]]}"
    return ",".join(DAYS[place] for place in places)
