"""The form of a model's price, and the fields that read amounts, percentages, times and moments as documents do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from apps.contracts.money import MoneyError, clock_read, clock_text, dollars_read, dollars_text, percent_read
from apps.contracts.pricing import KINDS, percent_text
from apps.providers.rules import PriceSpec

PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class ReadField(forms.CharField):
    """Text that one of ``apps.contracts.money``'s readers takes; cleaned to what it gives, None where empty."""

    def __init__(self, read: Callable[[str], int], write: Callable[[int], str], **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.TextInput(attrs={**PLAIN, "inputmode": "decimal"}))
        super().__init__(max_length=40, **kwargs)
        self._read, self._write = read, write

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value)).strip().removeprefix("$").strip()
        if not text:
            return None
        try:
            return self._read(text)
        except MoneyError as error:
            raise ValidationError(str(error)) from None

    def prepare_value(self, value: Any) -> Any:
        return self._write(value) if isinstance(value, int) else value


class DollarsField(ReadField):
    """Dollars as text, exact to the nano-dollar; cleaned to nano-dollars, None where empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dollars_read, dollars_text, **kwargs)


class PercentField(ReadField):
    """A percentage with two decimals; cleaned to hundredths of a percent, None where empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(percent_read, percent_text, **kwargs)


class MomentField(forms.CharField):
    """A day or a moment, UTC where it names no zone; cleaned to an aware datetime, None where empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=40, widget=forms.TextInput(attrs=PLAIN), **kwargs)

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value)).strip()
        if not text:
            return None
        try:
            if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
                raise ValueError
            moment = datetime.fromisoformat(text.removesuffix(" UTC"))
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValidationError(f"{text!r}: write a day, such as 2027-01-31, or a moment, such as 2027-01-31 14:00 (UTC)") from None
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, datetime):
            return value
        at = value.astimezone(UTC)
        if (at.hour, at.minute, at.second, at.microsecond) == (0, 0, 0, 0):
            return f"{at:%Y-%m-%d}"
        return at.replace(tzinfo=None).isoformat(sep=" ", timespec="auto" if at.second or at.microsecond else "minutes") + " UTC"


class LinesField(forms.CharField):
    """One entry a line; cleaned to a tuple of what ``read`` makes of each."""

    def __init__(self, read: Callable[[str], dict[str, Any]], write: Callable[[Any], str], **kwargs: Any) -> None:
        super().__init__(
            max_length=4_000, required=False, strip=False, widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}), **kwargs
        )
        self._read, self._write = read, write

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value))
        try:
            return tuple(self._read(line.strip()) for line in text.splitlines() if line.strip())
        except MoneyError as error:
            raise ValidationError(str(error)) from None

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(self._write(entry) for entry in value) if isinstance(value, (list, tuple)) else value


def tier_read(line: str) -> dict[str, Any]:
    """``200000 input=2.50 output=15``. Raises MoneyError."""
    start, *pairs = line.split()
    if not re.fullmatch(r"[0-9]{1,9}", start) or not pairs:
        raise MoneyError(f"{line[:40]!r}: write the first number of input tokens, then prices, such as 200000 input=2.50 output=15")
    tier: dict[str, Any] = {"from_input_tokens": int(start)}
    for pair in pairs:
        kind, equals, amount = pair.partition("=")
        if kind not in KINDS or not equals or kind in tier:
            raise MoneyError(f"{pair[:40]!r}: write a kind once, an equals sign and its price; kinds are {', '.join(KINDS)}")
        tier[kind] = dollars_read(amount)
    return tier


def tier_write(tier: Mapping[str, int | None]) -> str:
    """A tier as its line."""
    prices = (f"{kind}={dollars_text(amount)}" for kind in KINDS if (amount := tier.get(kind)) is not None)
    return " ".join((str(tier["from_input_tokens"]), *prices))


def hours_read(line: str) -> dict[str, Any]:
    """``16:30-00:30 50%``. Raises MoneyError."""
    match = re.fullmatch(r"(\S+?)\s*[-–]\s*(\S+)\s+(\S+)", line)
    if match is None:
        raise MoneyError(f"{line[:40]!r}: write two times of the day, UTC, and what comes off, such as 16:30-00:30 50%")
    return {"from_minute": clock_read(match[1]), "to_minute": clock_read(match[2]), "discount": percent_read(match[3])}


def hours_write(hours: Mapping[str, int]) -> str:
    """Hours as their line."""
    return f"{clock_text(hours['from_minute'])}-{clock_text(hours['to_minute'])} {percent_text(hours['discount'])}"


class PriceForm(forms.Form):
    """What a model costs from a moment on, in dollars per million tokens."""

    model = forms.CharField(max_length=300, help_text="As the provider names it.", widget=forms.TextInput(attrs=PLAIN))
    source = forms.ChoiceField(
        label="Price",
        choices=[
            ("own", "My own, below"),
            ("book", "The price book's; drops my own"),
            ("like", "As another model while the price book has none; drops my own"),
        ],
        widget=forms.RadioSelect,
    )
    like = forms.CharField(
        label="That other model",
        required=False,
        max_length=300,
        help_text="As provider/model. It also stands in where your own prices leave a gap in time.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    input = DollarsField(label="Input, $ per million tokens", required=False)
    output = DollarsField(label="Output, $ per million tokens", required=False)
    cache_read = DollarsField(
        label="Read from the provider's cache, $ per million tokens", required=False, help_text="Empty: such tokens cost as input."
    )
    cache_write = DollarsField(
        label="Written to the provider's cache, $ per million tokens", required=False, help_text="Empty: such tokens cost as input."
    )
    request = DollarsField(label="Per request, $ per million requests", required=False, help_text="On top of tokens; empty for none.")
    reasoning = DollarsField(label="Reasoning, $ per million tokens", required=False, help_text="Empty: such tokens cost as output.")
    audio_input = DollarsField(label="Sound in, $ per million tokens", required=False, help_text="Empty: such tokens cost as input.")
    audio_output = DollarsField(label="Sound out, $ per million tokens", required=False, help_text="Empty: such tokens cost as output.")
    image_input = DollarsField(label="Pictures in, $ per million tokens", required=False, help_text="Empty: such tokens cost as input.")
    image_output = DollarsField(label="Pictures out, $ per million tokens", required=False, help_text="Empty: such tokens cost as output.")
    tiers = LinesField(
        tier_read,
        tier_write,
        label="Prices for large inputs",
        help_text="One tier a line, for the whole request from so many input tokens on: 200000 input=2.50 output=15. A kind that is left "
        "out keeps the price above.",
    )
    region = forms.CharField(
        label="Region",
        required=False,
        max_length=300,
        help_text="Only for endpoints of this region. Empty: everywhere that no price of the region holds.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    batch_discount = PercentField(
        label="Batch discount", required=False, help_text="Off everything, for answers that the provider says it gave as batch work."
    )
    off_peak = LinesField(
        hours_read,
        hours_write,
        label="Off-peak hours",
        help_text="One time of every day a line, UTC: 16:30-00:30 50%. With the batch discount the larger one counts.",
    )
    valid_from = MomentField(
        label="From",
        required=False,
        help_text="The day or moment (UTC) from which it holds; until then the price before does. Empty: it replaces past prices too.",
    )
    valid_to = MomentField(
        label="Until",
        required=False,
        help_text="Then the price before holds again. Empty: until further notice, and a price planned for later is dropped.",
    )

    def __init__(self, *args: Any, known: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if known:
            del self.fields["model"]
        else:
            del self.fields["source"]
        source = self.data.get("source", "own") if self.is_bound else "own"
        for name in ("input", "output"):  # asked for unless another price is wanted
            self.fields[name].required = source == "own"
            self.fields[name].error_messages["required"] = "Write what it costs; 0 where it is free."
        self.fields["like"].required = source == "like"
        self.fields["like"].error_messages["required"] = "Name the model whose price it has, as provider/model."

    @property
    def chosen(self) -> str:
        """``own``, ``book`` or ``like``."""
        return str(self.cleaned_data.get("source", "own"))

    @property
    def first(self) -> list[forms.BoundField]:
        """What every price has."""
        return [self[name] for name in self.fields if name not in self._MORE]

    @property
    def more(self) -> list[forms.BoundField]:
        """What few prices have."""
        return [self[name] for name in self.fields if name in self._MORE]

    @property
    def more_open(self) -> bool:
        """Whether some of that is filled in or wrong."""
        return any(field.value() or field.errors for field in self.more)

    _MORE = frozenset(
        {
            "reasoning",
            "audio_input",
            "audio_output",
            "image_input",
            "image_output",
            "tiers",
            "region",
            "batch_discount",
            "off_peak",
        }
    )

    def spec(self) -> PriceSpec:
        """The price that was typed."""
        values: dict[str, Any] = {name: self.cleaned_data.get(name) for name in PriceSpec._fields}
        return PriceSpec(**(values | {"request": values["request"] or 0, "batch_discount": values["batch_discount"] or 0}))


def price_initial(spec: PriceSpec, *, valid_from: datetime) -> dict[str, Any]:
    """A price as the form's initial values, to hold from ``valid_from`` on."""
    values: dict[str, Any] = spec._asdict()
    return values | {
        "source": "own",
        "request": spec.request or None,
        "batch_discount": spec.batch_discount or None,
        "valid_from": valid_from,
        "valid_to": None,
    }
