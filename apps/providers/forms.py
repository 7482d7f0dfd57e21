"""Forms of providers and credentials. Field names are the services' argument names, so that an error finds its field.

A provider's endpoints are fields of the one form, named as services name them in errors: ``endpoints[0].base_url``. How many there are
stands in ``endpoint_count``; the buttons *Add an endpoint* and *Remove* change it without judging anything.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import QueryDict

from apps.audit.errors import ServiceError
from apps.contracts.limits import AmountError, amount_read
from apps.providers import choices, pricebook, rules
from apps.providers.price_form import PLAIN
from apps.providers.rules import EndpointSpec, PoolSpec

MOST_ENDPOINTS = 20


class ProviderForm(forms.Form):
    """A provider with its endpoints. ``credentials``: names to choose from. ``new``: its name is asked too."""

    name = forms.CharField(
        max_length=300,
        help_text="Routes, prices and records refer to it; it never changes. Lower-case letters, digits, '.', '_', '-'.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    kind = forms.ChoiceField(label="Wire format", choices=[(key, kind.label) for key, kind in choices.KINDS.items()])
    price_list = forms.ChoiceField(
        label="Price list", required=False, help_text="The page of the price book that applies to models you have not priced yourself."
    )
    allow_private_addresses = forms.BooleanField(
        label="Allow private addresses",
        required=False,
        help_text="Its addresses may lie on this host or in a private network. Leave it off for providers on the internet: whoever may "
        "edit providers could reach internal services through it. Clouds' metadata services stay refused.",
    )
    simulated = forms.BooleanField(
        label="Simulated",
        required=False,
        help_text="A simulation: its traffic and spend never count as real, and it is never priced by the book.",
    )
    endpoint_count = forms.IntegerField(widget=forms.HiddenInput, min_value=1, max_value=MOST_ENDPOINTS)

    def __init__(self, *args: Any, credentials: list[str], new: bool, simulated: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        lists = [("", "By its address"), (pricebook.NO_LIST, "None: only my own prices")]
        self.fields["price_list"].choices = [*lists, *((name, name) for name in pricebook.price_lists())]  # type: ignore[attr-defined]
        if not new:
            del self.fields["name"]
        if simulated:
            del self.fields["simulated"]
        sent = self.data.get("endpoint_count") if self.is_bound else self.initial.get("endpoint_count")
        self.endpoint_count = min(max(int(sent), 1), MOST_ENDPOINTS) if str(sent or "").isascii() and str(sent or "").isdigit() else 1
        for at in range(self.endpoint_count):
            self._endpoint(at, credentials)

    def _endpoint(self, at: int, credentials: list[str]) -> None:
        fields: dict[str, forms.Field] = {
            "name": forms.CharField(label="Name", max_length=300, help_text="Targets can name it.", widget=forms.TextInput(attrs=PLAIN)),
            "base_url": forms.CharField(
                label="Base URL",
                max_length=600,
                help_text="With the API's version path, such as https://api.openai.com/v1.",
                widget=forms.TextInput(attrs={**PLAIN, "inputmode": "url"}),
            ),
            "credential": forms.ChoiceField(
                label="Credential", required=False, choices=[("", "None: it asks for none"), *((name, name) for name in credentials)]
            ),
            "credentials": forms.CharField(
                label="Several credentials",
                required=False,
                max_length=4_000,
                help_text="Instead of one: their names, one a line, used in turn. Limits of its own behind a name: "
                "openai-2 requests_per_minute=600 tokens_per_minute=90000 concurrent_requests=20",
                widget=forms.Textarea(attrs={**PLAIN, "rows": 2}),
            ),
            "api_version": forms.CharField(
                label="API version",
                required=False,
                max_length=300,
                help_text="Only of Azure OpenAI by deployment, such as 2024-10-21.",
                widget=forms.TextInput(attrs=PLAIN),
            ),
            "region": forms.CharField(label="Region", required=False, max_length=300, widget=forms.TextInput(attrs=PLAIN)),
            "max_connections": forms.IntegerField(
                label="Connections", min_value=1, max_value=rules.MAX_CONNECTIONS, help_text="Most of one proxy process."
            ),
            "verify_tls": forms.BooleanField(label="Verify its certificate", required=False),
            "ca_file": forms.CharField(
                label="CA file",
                required=False,
                max_length=600,
                help_text="Absolute path, on the proxies' hosts, of PEM certificates to verify against instead of the system's.",
                widget=forms.TextInput(attrs=PLAIN),
            ),
        }
        defaults = EndpointSpec(name="default" if at == 0 else f"endpoint-{at + 1}", base_url="")
        for name, field in fields.items():
            key = f"endpoints[{at}].{name}"
            field.initial = self.initial.get(key, "" if name == "credentials" else getattr(defaults, name))
            self.fields[key] = field

    @property
    def head(self) -> list[forms.BoundField]:
        """The provider's own fields."""
        return [self[name] for name in self.fields if not name.startswith("endpoint")]

    @property
    def rows(self) -> list[list[forms.BoundField]]:
        """Each endpoint's fields."""
        return [[self[name] for name in self.fields if name.startswith(f"endpoints[{at}].")] for at in range(self.endpoint_count)]

    @property
    def endpoints(self) -> list[EndpointSpec]:
        """What was typed, checked by the services."""
        found = []
        for at in range(self.endpoint_count):
            given = {name: self.cleaned_data.get(f"endpoints[{at}].{name}", "") for name in EndpointSpec._fields}
            given["credentials"] = pool_read(given["credentials"], f"endpoints[{at}].credentials")
            if given["credentials"]:
                given["credential"] = given["credentials"][0].name
            found.append(EndpointSpec(**given))
        return found


def pool_read(text: str, field: str) -> tuple[PoolSpec, ...]:
    """Credentials as a person writes them, one a line. Raises ServiceError."""
    found = []
    for line in filter(None, (line.split() for line in text.splitlines())):
        limits: dict[str, int] = {}
        for part in line[1:]:
            name, _, amount = part.partition("=")
            if name not in PoolSpec._fields[1:]:
                raise ServiceError(f"{part[:60]!r} is no limit: write {', '.join(f'{each}=600' for each in PoolSpec._fields[1:])}", field)
            try:
                limits[name] = amount_read(amount)
            except AmountError as error:
                raise ServiceError(str(error), field) from None
        found.append(PoolSpec(line[0], **limits))
    return tuple(found)


def pool_written(pool: tuple[PoolSpec, ...]) -> str:
    """The same as text."""
    words = ([member.name, *(f"{k}={v}" for k, v in member._asdict().items() if k != "name" and v is not None)] for member in pool)
    return "\n".join(" ".join(line) for line in words)


def provider_initial(specs: list[EndpointSpec]) -> dict[str, Any]:
    """Endpoints as the form's initial values."""
    values: dict[str, Any] = {"endpoint_count": max(len(specs), 1)}
    for at, spec in enumerate(specs):
        values |= {f"endpoints[{at}].{name}": value for name, value in spec._asdict().items()}
        values[f"endpoints[{at}].credentials"] = pool_written(spec.credentials)
    return values


def endpoints_reshape(data: QueryDict) -> QueryDict | None:
    """The form's data with an endpoint more or less, as its buttons say; None where no such button was pressed."""
    count = data.get("endpoint_count", "1")
    number = min(int(count), MOST_ENDPOINTS) if count.isascii() and count.isdigit() else 1
    if "add_endpoint" in data:
        at = min(number, MOST_ENDPOINTS - 1)
        data.setdefault(f"endpoints[{at}].name", f"endpoint-{at + 1}")
        data.setdefault(f"endpoints[{at}].max_connections", "4096")
        data.setdefault(f"endpoints[{at}].verify_tls", "on")
        data["endpoint_count"] = str(at + 1)
        return data
    gone = data.get("remove_endpoint", "")
    if gone.isascii() and gone.isdigit() and number > 1:
        names = [*EndpointSpec._fields]
        for at in range(int(gone), number - 1):
            for name in names:
                data.setlist(f"endpoints[{at}].{name}", data.getlist(f"endpoints[{at + 1}].{name}"))
        for name in names:
            data.pop(f"endpoints[{number - 1}].{name}", None)
        data["endpoint_count"] = str(number - 1)
        return data
    return None


class CredentialForm(forms.Form):
    """A provider's secret under a name; ``rotate``: only a new value for a name there is."""

    name = forms.CharField(
        max_length=300, help_text="Endpoints refer to it. Lower-case letters, digits, '.', '_', '-'.", widget=forms.TextInput(attrs=PLAIN)
    )
    secret = forms.CharField(
        label="Secret",
        max_length=16_384,
        strip=True,
        help_text="The provider's API key; or as JSON, whole: a Google service account's key file, an AWS access key "
        "(type aws, access_key_id, secret_access_key, region) or an Entra application (tenant_id, client_id, client_secret). "
        "Kept encrypted, and never shown again but for the last four characters.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}, render_value=True),
    )

    def __init__(self, *args: Any, rotate: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if rotate:
            del self.fields["name"]
            self.fields["secret"].label = "New secret"
