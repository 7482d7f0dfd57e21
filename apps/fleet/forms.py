"""What a person decides about a deployment. Fields are named as the service's arguments, and judged by it alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from django import forms

from apps.accounts.models import Organisation
from apps.fleet import choices
from apps.fleet.models import Deployment
from apps.fleet.neighbours import performance_known
from apps.fleet.rules import TASKS
from apps.fleet.scaling_form import FLOORS, GROUPS, PREFIX, ZONE, Group, ScalingForm, scaling_initial
from apps.ownership.models import Team

_NUMBER = {"inputmode": "numeric"}
MAIN = ("name", "model", "engine", "recipe", "tasks", "owner", "performance_budget", "enabled")
SECTIONS: tuple[tuple[str, str, tuple[str, ...], bool], ...] = (
    (
        "The model's files", "path or hub id, format, what is refused",
        ("source", "location", "model_revision", "format", "quantisation", "digest", "allow_pickle", "allow_remote_code"), True,
    ),
    (
        "One replica", "GPUs, memory, arguments of its engine",
        ("gpus", "exclusive", "memory", "config", "context", "concurrency", "arguments"), True,
    ),
    ("Where it may run", "pool, region, labels, spot, priority", ("pool", "region", "labels", "spot_allowed", "priority"), False),
    ("How a change comes", "rollout, surge, drain", ("strategy", "surge", "drain_seconds"), False),
    ("How many", "bounds, and who decides between them", ("least", "most", "scaling_mode"), True),
)  # fmt: skip
"""Title, what is in it, fields, whether it is open from the start."""


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


class DeploymentForm(ScalingForm):
    """``memory``: gigabytes, empty: estimated from ``config``. ``scaling_*``: the policy, field by field."""

    name = forms.CharField(max_length=60, help_text="Lower case, as in chat-8b. Routes target it as deployment:chat-8b.")
    model = forms.CharField(max_length=200, label="Model", help_text="What requests name at the engine.")
    engine = forms.ChoiceField(choices=choices.ENGINES)
    tasks = forms.MultipleChoiceField(
        choices=[(task, task.capitalize()) for task in TASKS], initial=["chat"], label="What it serves",
        widget=forms.CheckboxSelectMultiple, help_text="Its health is asked by the first of these that is ticked.",
    )  # fmt: skip
    recipe = forms.CharField(max_length=200, required=False, help_text="Of the engine “Command”: the workers' settings hold the commands.")
    source = forms.ChoiceField(choices=choices.SOURCES, label="Where the model is")
    location = forms.CharField(
        max_length=1000, required=False, label="Path or hub id", help_text="/models/llama-8b, or meta-llama/Llama-8B."
    )
    model_revision = forms.CharField(max_length=200, required=False, label="Revision of the model")
    digest = forms.CharField(max_length=71, required=False, help_text="sha256:…, checked before each start; empty: not checked.")
    format = forms.ChoiceField(choices=choices.FORMATS, required=False)
    quantisation = forms.CharField(max_length=40, required=False, help_text="awq, gptq, fp8, int8; empty: as its config says.")
    allow_pickle = forms.BooleanField(required=False, label="Pickled weights allowed", help_text="They run code when they are read.")
    allow_remote_code = forms.BooleanField(
        required=False, label="Code of the model's own allowed", help_text="It runs on the worker, with all that the engine may."
    )
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
    least = _number("Replicas at least", 1, "0: it may be scaled to zero; requests wait while the first one starts.")
    most = _number("Replicas at most", 1, "People and the autoscaler stay between the two.")
    pool = forms.CharField(max_length=63, initial="default")
    region = forms.CharField(max_length=200, required=False, help_text="Empty: any.")
    labels = LinesField(label="Labels that a worker must carry", help_text="name=value, one a line.")
    spot_allowed = forms.BooleanField(required=False, label="Spot machines allowed")
    priority = forms.IntegerField(initial=0, widget=forms.TextInput(attrs=_NUMBER), help_text="Greater is placed first.")
    strategy = forms.ChoiceField(choices=choices.STRATEGIES, label="How a new revision comes")
    surge = _number("Surge", 1, "New replicas beside the old ones.")
    drain_seconds = _number("Drain, seconds", 60, "So long requests may finish.")
    scaling_mode = forms.ChoiceField(
        choices=choices.SCALING, label="Scaling", help_text="A dry run writes down what it would have done, and changes nothing."
    )
    owner = forms.ModelChoiceField(queryset=Team.objects.none(), required=False, empty_label="Nobody", label="Team that owns it")
    performance_budget = forms.ChoiceField(
        required=False, help_text="Its verdict stands on the deployment's page; a rollout while it is breached takes a reason."
    )
    enabled = forms.BooleanField(required=False, initial=True)

    def __init__(
        self, *args: Any, organisation: Organisation, fixed_name: bool = False, scaling: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """scaling: the document that it has now, for what no field shows."""
        super().__init__(*args, **kwargs)
        self.kept_scaling = scaling or {}
        self.fields["owner"].queryset = Team.objects.filter(organisation=organisation)  # type: ignore[attr-defined]
        self.fields["name"].disabled = fixed_name
        known = [(str(one.id), f"{one.name}: {one.metric} of the {one.scope} {one.subject}") for one in performance_known(organisation)]
        self.fields["performance_budget"].choices = [("", "None"), *known]  # type: ignore[attr-defined]

    @property
    def main_fields(self) -> list[forms.BoundField]:
        """What every deployment is asked for first."""
        return [self[name] for name in MAIN]

    @property
    def sections(self) -> list[tuple[str, str, list[forms.BoundField], bool]]:
        """(title, what is in it, fields, open) of the rest; one with a mistake is open."""
        return [(title, text, [self[name] for name in names], opened or self._wrong(names)) for title, text, names, opened in SECTIONS]

    @property
    def scaling_groups(self) -> list[tuple[Group, list[forms.BoundField]]]:
        return [(group, [self[option.field] for option in group.options if option.field in self.fields]) for group in GROUPS]

    @property
    def schedule(self) -> list[forms.BoundField]:
        return [self[FLOORS], self[ZONE]]

    @property
    def scaling_open(self) -> bool:
        mode = self["scaling_mode"].value()
        return mode not in ("off", None) or self._wrong([name for name in self.fields if name.startswith(PREFIX)])

    def _wrong(self, names: Sequence[str]) -> bool:
        return self.is_bound and any(name in self.errors for name in names)

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        document = self.document_of(values, self.kept_scaling)
        least, most = values.get("least"), values.get("most")
        if isinstance(least, int) and isinstance(most, int) and least > most:
            self.add_error("most", f"At least {least} and at most {most} cannot both hold: raise this one, or lower the least.")
        elif isinstance(least, int) and isinstance(most, int) and not any(name.startswith(PREFIX) for name in self.errors):
            self.judge(document, least=least, most=most)
        values["scaling"] = document
        return values

    def clean_performance_budget(self) -> UUID | None:
        return UUID(self.cleaned_data["performance_budget"]) if self.cleaned_data["performance_budget"] else None

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
        for name in self.fields:
            if name.startswith(PREFIX) and name != "scaling_mode":
                values.pop(name, None)
        shown = {
            "source": values.pop("source"),
            "location": values.pop("location"),
            "revision": values.pop("model_revision"),
            "digest": values.pop("digest"),
            "format": values.pop("format"),
            "quantisation": values.pop("quantisation"),
            "allow_pickle": values.pop("allow_pickle"),
            "allow_remote_code": values.pop("allow_remote_code"),
        }
        values["artifact"] = {**(kept.artifact if kept else {}), **shown}
        if values["memory"] is None and not values["config"] and not values["gpus"]:
            values["memory"] = 0
        return values


def initial_of(row: Deployment) -> dict[str, Any]:
    """The form's values of a deployment."""
    same = (
        "name", "model", "engine", "recipe", "gpus", "exclusive", "context", "concurrency", "least", "most", "pool", "region",
        "spot_allowed", "priority", "strategy", "surge", "drain_seconds", "scaling_mode", "enabled", "tasks",
    )  # fmt: skip
    artifact = row.artifact
    return {
        **{name: getattr(row, name) for name in same},
        **scaling_initial(row.scaling),
        **{name: artifact.get(name, "") for name in ("location", "digest", "format", "quantisation")},
        **{name: bool(artifact.get(name)) for name in ("allow_pickle", "allow_remote_code")},
        "source": artifact.get("source", "none"),
        "model_revision": artifact.get("revision", ""),
        "arguments": "\n".join(name if value is None else f"{name}={value}" for name, value in row.arguments.items()),
        "labels": "\n".join(f"{name}={value}" for name, value in row.labels.items()),
        "memory": f"{Decimal(row.memory) / 10**9:f}" if row.memory else "",
        "config": json.dumps(row.config) if row.config else "",
        "owner": row.owner_id,
        "performance_budget": str(row.performance_budget or ""),
    }
