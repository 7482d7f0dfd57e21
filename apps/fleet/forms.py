"""What a person decides about a deployment. Fields are named as the service's arguments, and judged by it alone."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.fleet import choices
from apps.fleet.models import Deployment
from apps.ownership.models import Team

_NUMBER = {"inputmode": "numeric"}


def _number(label: str, initial: int | str, text: str = "", *, required: bool = True) -> forms.IntegerField:
    widget = forms.TextInput(attrs=_NUMBER)
    return forms.IntegerField(label=label, initial=initial, help_text=text, required=required, widget=widget, min_value=0)


class LinesField(forms.CharField):
    """``name=value`` a line; a name alone where ``flags`` are allowed."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def __init__(self, *, flags: bool = False, **named: Any) -> None:
        super().__init__(required=False, **named)
        self.flags = flags

    def clean(self, value: Any) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for line in str(super().clean(value) or "").splitlines():
            if not line.strip():
                continue
            name, equals, text = line.strip().lstrip("-").partition("=")
            if not equals and not self.flags:
                raise forms.ValidationError(f"{line[:60]!r}: write name=value, one a line.")
            found[name.strip()] = text.strip() if equals else None
        return found


class DeploymentForm(forms.Form):
    """``memory``: gigabytes, empty: estimated from ``config``."""

    name = forms.CharField(max_length=60, help_text="Lower case, as in chat-8b. Routes target it as deployment:chat-8b.")
    model = forms.CharField(max_length=200, label="Model", help_text="What requests name at the engine.")
    engine = forms.ChoiceField(choices=choices.ENGINES)
    recipe = forms.CharField(max_length=200, required=False, help_text="Of the engine “Command”: the workers' settings hold the commands.")
    source = forms.ChoiceField(choices=choices.SOURCES, label="Where the model is")
    location = forms.CharField(
        max_length=1000, required=False, label="Path or hub id", help_text="/models/llama-8b, or meta-llama/Llama-8B."
    )
    model_revision = forms.CharField(max_length=200, required=False, label="Revision of the model")
    digest = forms.CharField(max_length=71, required=False, help_text="sha256:…, checked before each start; empty: not checked.")
    format = forms.ChoiceField(choices=choices.FORMATS, required=False)
    quantisation = forms.CharField(max_length=40, required=False, help_text="awq, gptq, fp8, int8; empty: as its config says.")
    arguments = LinesField(flags=True, label="Engine's arguments", help_text="One a line: max-model-len=8192; a name alone is a flag.")
    gpus = _number("GPUs per replica", 0, "0: the host's processors.")
    exclusive = forms.BooleanField(required=False, initial=True, label="Whole GPUs", help_text="Nothing else runs on them.")
    memory = forms.CharField(
        max_length=20, required=False, label="Memory, GB",
        help_text="Of each GPU, of the host without one. Empty: estimated from the config below.",
    )  # fmt: skip
    config = forms.CharField(
        required=False, label="The model's config.json", widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="What the memory is estimated from.",
    )  # fmt: skip
    context = _number("Context, tokens", 8192)
    concurrency = _number("Sequences at once", 16, "With the context: how much KV cache a replica holds.")
    least = _number("Replicas at least", 1)
    most = _number("Replicas at most", 1)
    pool = forms.CharField(max_length=63, initial="default")
    region = forms.CharField(max_length=200, required=False, help_text="Empty: any.")
    labels = LinesField(label="Labels that a worker must carry", help_text="name=value, one a line.")
    spot_allowed = forms.BooleanField(required=False, label="Spot machines allowed")
    priority = forms.IntegerField(initial=0, widget=forms.TextInput(attrs=_NUMBER), help_text="Greater is placed first.")
    strategy = forms.ChoiceField(choices=choices.STRATEGIES, label="Rollout")
    surge = _number("Surge", 1, "New replicas beside the old ones.")
    drain_seconds = _number("Drain, seconds", 60, "So long requests may finish.")
    scaling_mode = forms.ChoiceField(choices=choices.SCALING, label="Scaling")
    owner = forms.ModelChoiceField(queryset=Team.objects.none(), required=False, empty_label="Nobody", label="Team that owns it")
    enabled = forms.BooleanField(required=False, initial=True)

    def __init__(self, *args: Any, organisation: Organisation, fixed_name: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].queryset = Team.objects.filter(organisation=organisation)  # type: ignore[attr-defined]
        self.fields["name"].disabled = fixed_name

    def clean_memory(self) -> int | None:
        text = str(self.cleaned_data["memory"]).strip()
        if not text:
            return None
        try:
            size = int(Decimal(text) * 10**9)
        except (InvalidOperation, ValueError, OverflowError):
            raise forms.ValidationError(f"{text!r} is not a number of gigabytes, such as 14 or 6.5.") from None
        if not 0 <= size < 2**50:
            raise forms.ValidationError("Use a number of gigabytes that a machine can have.")
        return size

    def clean_config(self) -> dict[str, Any]:
        text = str(self.cleaned_data["config"]).strip()
        if not text:
            return {}
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON: {error}.") from None
        if not isinstance(found, dict) or len(text) > 100_000:
            raise forms.ValidationError("A config.json is one object, of at most 100,000 characters.")
        return found

    def facts(self, kept: Deployment | None = None) -> dict[str, Any]:
        """The arguments of ``deployment_create`` beside the name. kept: whose fields that the form does not show stay."""
        values = dict(self.cleaned_data)
        values.pop("name")
        shown = {
            "source": values.pop("source"),
            "location": values.pop("location"),
            "revision": values.pop("model_revision"),
            "digest": values.pop("digest"),
            "format": values.pop("format"),
            "quantisation": values.pop("quantisation"),
        }
        values["artifact"] = {**(kept.artifact if kept else {}), **shown}
        if values["memory"] is None and not values["config"] and not values["gpus"]:
            values["memory"] = 0
        return values


def initial_of(row: Deployment) -> dict[str, Any]:
    """The form's values of a deployment."""
    same = (
        "name", "model", "engine", "recipe", "gpus", "exclusive", "context", "concurrency", "least", "most", "pool", "region",
        "spot_allowed", "priority", "strategy", "surge", "drain_seconds", "scaling_mode", "enabled",
    )  # fmt: skip
    artifact = row.artifact
    return {
        **{name: getattr(row, name) for name in same},
        **{name: artifact.get(name, "") for name in ("location", "digest", "format", "quantisation")},
        "source": artifact.get("source", "none"),
        "model_revision": artifact.get("revision", ""),
        "arguments": "\n".join(name if value is None else f"{name}={value}" for name, value in row.arguments.items()),
        "labels": "\n".join(f"{name}={value}" for name, value in row.labels.items()),
        "memory": f"{Decimal(row.memory) / 10**9:f}" if row.memory else "",
        "config": json.dumps(row.config) if row.config else "",
        "owner": row.owner_id,
    }
