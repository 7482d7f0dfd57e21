"""Connect a provider, in one page: address and key, a real call to test them, models to choose, and what apps will call them.

One transaction makes credential, provider, prices and routes, and publishes. It lives here because it writes what two apps own.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from django import forms
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

from apps.accounts.models import Organisation
from apps.accounts.rules import Role, roles_for
from apps.audit.errors import ServiceError
from apps.catalogue.choices import LABELS
from apps.catalogue.packages import package_facts
from apps.contracts.model_facts import NOTHING, ModelFacts
from apps.keys.choices import ALL_ROUTES
from apps.keys.selectors import keys_of
from apps.keys.services import key_create
from apps.keys.views import IssuingView
from apps.providers import choices, pricebook, rules
from apps.providers.checks import providers_check
from apps.providers.listing import known_price
from apps.providers.models import Credential, Provider
from apps.providers.presets import PRESETS
from apps.providers.price_form import PLAIN, DollarsField
from apps.providers.prices import prices_set
from apps.providers.probe import Address, Listed, Tried, chat_try, models_list
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.services import credential_set, provider_ensure
from apps.routes.rules import TargetSpec
from apps.routes.selectors import routes_of
from apps.routes.services import route_ensure
from apps.ui.toasts import toast

SHOWN_MODELS = 200
MOST_CHOSEN = 100


FIRST_KEY = "my-app"
"""What the first key of an organisation is called, unless somebody says otherwise."""
_BOOKS = {
    "anthropic": "anthropic",
    "gemini": "google",
    "vertex": "google",
    "vertex-anthropic": "anthropic",
    "bedrock": "aws",
    "cohere": "cohere",
    "responses": "openai",
}
"""Of kinds that one maker's models are asked by: the book's list of them."""
PER_MODEL, ONE_ROUTE, NO_ROUTE = "each", "one", "none"


class ModelOption(NamedTuple):
    """A model to choose: ``price`` as the price book knows it, or None; ``facts`` as the installed packages do, perhaps nothing."""

    name: str
    price: PriceSpec | None
    chosen: bool
    facts: ModelFacts = NOTHING

    @property
    def can(self) -> list[str]:
        """In a word each."""
        return [label for name, label in LABELS.items() if name in self.facts.can]

    @property
    def example(self) -> int | None:
        """Nano-dollars of the example request."""
        return None if self.price is None else rules.example_cost(self.price)


class ConnectForm(forms.Form):
    """Everything about a provider that one page asks. Names of models that a test found ride along in ``found``."""

    preset = forms.ChoiceField(label="Provider", choices=[(key, preset.label) for key, preset in PRESETS.items()])
    kind = forms.ChoiceField(label="Wire format", choices=[(key, kind.label) for key, kind in choices.KINDS.items()])
    name = forms.CharField(
        max_length=300,
        help_text="What routes and records call it. Lower-case letters, digits, '.', '_', '-'.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    base_url = forms.CharField(
        label="Base URL",
        max_length=600,
        help_text="With the API's version path; it usually ends in /v1.",
        widget=forms.TextInput(attrs={**PLAIN, "inputmode": "url"}),
    )
    api_version = forms.CharField(
        label="API version",
        required=False,
        max_length=300,
        help_text="Only of Azure OpenAI by deployment, such as 2024-10-21.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    secret = forms.CharField(
        label="Key",
        required=False,
        max_length=16_384,
        help_text="The provider's API key; as JSON, a service account's key file, an AWS access key or an Entra application. "
        "Kept encrypted; empty for a server that asks for none.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}, render_value=True),
    )
    allow_private_addresses = forms.BooleanField(
        label="Allow private addresses",
        required=False,
        help_text="Only for a server of your own, on this host or in your network. Without it such addresses are refused.",
    )
    found = forms.CharField(required=False, max_length=2_500_000, widget=forms.HiddenInput)
    search = forms.CharField(
        label="Search", required=False, max_length=200, widget=forms.TextInput(attrs={**PLAIN, "placeholder": "Part of a name"})
    )
    more = forms.CharField(
        label="Other models",
        required=False,
        max_length=20_000,
        help_text="One a line, as the provider names them: for what its list leaves out.",
        widget=forms.Textarea(attrs={**PLAIN, "rows": 2}),
    )
    routes = forms.ChoiceField(
        label="Routes",
        help_text="A route is what apps name as their model.",
        choices=[
            (PER_MODEL, "One route for each model, named as the model"),
            (ONE_ROUTE, "One route that tries the chosen models in order"),
            (NO_ROUTE, "None yet"),
        ],
        widget=forms.RadioSelect,
    )
    route_name = forms.CharField(
        label="Route's name",
        required=False,
        max_length=300,
        help_text="For one route: what apps send as model.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    first = forms.CharField(
        label="Tried first", required=False, max_length=300, help_text="For one route: the model to begin with.",
        widget=forms.TextInput(attrs=PLAIN),
    )  # fmt: skip
    input = DollarsField(label="Input, $ per million tokens", required=False)
    output = DollarsField(label="Output, $ per million tokens", required=False)
    key_name = forms.CharField(
        label="Key's name",
        required=False,
        max_length=80,
        help_text="Such as “my-app”. Its secret is shown once, after publishing. Empty: no key now.",
        widget=forms.TextInput(attrs=PLAIN),
    )

    @property
    def found_models(self) -> list[str]:
        """What the last test found; whatever else was sent in its place is nothing."""
        try:
            names = json.loads(self.data.get("found", "") or "[]") if self.is_bound else []
        except (ValueError, RecursionError):
            return []
        return [name for name in names if isinstance(name, str) and rules.MODEL.fullmatch(name)] if isinstance(names, list) else []

    @property
    def ticked(self) -> list[str]:
        """Models ticked in the list, in its order."""
        return list(dict.fromkeys(self.data.getlist("model"))) if self.is_bound else []  # type: ignore[union-attr]

    @property
    def written(self) -> list[str]:
        """Models written by hand."""
        return [line.strip() for line in (self.data.get("more", "") if self.is_bound else "").splitlines() if line.strip()]

    @property
    def chosen(self) -> list[str]:
        """Every model to connect, none twice; in a single route the one to be tried first comes first."""
        names = list(dict.fromkeys([*self.ticked, *self.written]))
        first = self.cleaned_data.get("first", "").strip() if hasattr(self, "cleaned_data") else ""
        return [first, *(name for name in names if name != first)] if first in names else names

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if len(self.chosen) > MOST_CHOSEN:
            self.add_error(None, f"{len(self.chosen)} models are chosen: connect at most {MOST_CHOSEN} at once, and add others later.")
        if cleaned.get("routes") == ONE_ROUTE and not cleaned.get("route_name"):
            self.add_error("route_name", "Name the route: it is what apps send as model.")
        if cleaned.get("routes") in (PER_MODEL, ONE_ROUTE) and not self.chosen:
            self.add_error("more", "Choose at least one model, or choose no route yet. Test lists the models there are.")
        first = cleaned.get("first", "").strip()
        if first and cleaned.get("routes") == ONE_ROUTE and first not in self.chosen:
            self.add_error("first", f"{first!r} is not among the chosen models.")
        if (cleaned.get("input") is None) != (cleaned.get("output") is None):
            self.add_error("output" if cleaned.get("output") is None else "input", "Write both prices, or neither; 0 where it is free.")
        return cleaned

    def address(self) -> Address:
        """Where a test goes, checked like any address. Raises ServiceError with its field."""
        data = self.data
        allowed = bool(data.get("allow_private_addresses"))
        base_url = rules.check_base_url(data.get("base_url", "").strip(), allow_private=allowed)
        secret = data.get("secret", "").strip()
        if secret:
            rules.check_credential(secret)
        kind = rules.check_kind(data.get("kind", "openai"))
        version = rules.check_api_version(kind, data.get("api_version", "").strip(), "api_version")
        return Address(base_url=base_url, secret=secret, kind=kind, allow_private=allowed, api_version=version)


class ConnectView(IssuingView):
    """``/providers/connect/``: *Test* and *Try a completion* call the provider, *Review* shows what *Publish* would do. Where a key is
    made too, its secret and first calls are the answer."""

    permission = "provider.change"
    kind = "provider"
    form_class = ConnectForm
    template = "providers/connect.html"
    listed: Listed | None = None
    tried: Tried | None = None
    form: ConnectForm | None = None
    connected: Provider | None = None
    """What was published."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """From a simulated organisation to a real one: what is connected in the demo would be called simulated, and go with it."""
        if "org" not in request.GET:
            real = self._real_organisation()
            if real is not None:
                toast(
                    request,
                    f"You were in {self.choice.organisation.name}. Providers are connected in {real.name}, which is real.",
                    tone="info",
                )
                query = request.GET.copy()
                query["org"] = real.slug
                return redirect(f"{request.path}?{query.urlencode()}")
        return super().get(request, *args, **kwargs)

    def initial(self) -> dict[str, Any]:
        preset = self.request.GET.get("preset", "openai")
        chosen = PRESETS.get(preset, PRESETS["openai"])
        return {
            "preset": preset if preset in PRESETS else "openai",
            "name": chosen.name,
            "base_url": chosen.base_url,
            "allow_private_addresses": chosen.private,
            "kind": chosen.kind,
            "api_version": chosen.api_version,
            "routes": PER_MODEL,
            "key_name": FIRST_KEY if self._may_create_key and not keys_of(self.choice.organisation).exists() else "",
        }

    @property
    def _may_create_key(self) -> bool:
        return self.choice.may("key.create")

    def reshape(self, data: QueryDict) -> QueryDict | None:
        if "use_preset" in data:
            self._preset(data)
        elif "test" in data:
            self._test(data)
        elif "try" in data:
            self._try(data)
        elif "filter" not in data:
            return None
        return data

    def _preset(self, data: QueryDict) -> None:
        """The preset's address; what a person changed by hand is replaced, because they asked for it."""
        preset = PRESETS.get(data.get("preset", ""), PRESETS["custom"])
        data["name"], data["base_url"], data["found"], data["kind"] = preset.name, preset.base_url, "", preset.kind
        data["api_version"] = preset.api_version
        data.setlist("model", [])
        if preset.private:
            data["allow_private_addresses"] = "on"
        else:
            data.pop("allow_private_addresses", None)

    def _test(self, data: QueryDict) -> None:
        address = self._address(data)
        if address is not None:
            self.listed = models_list(address)
            data["found"] = json.dumps(self.listed.models)
            known = set(self.listed.models)
            data.setlist("model", [name for name in data.getlist("model") if name in known])

    def _try(self, data: QueryDict) -> None:
        address = self._address(data)
        form = ConnectForm(data)
        model = next(iter([*form.ticked, *form.written]), "")
        if address is None:
            return
        if not model:
            self.problem = ("Choose a model first: a completion needs one.", "more")
            return
        self.tried = chat_try(address, model)

    problem: tuple[str, str | None] | None = None
    """Why no test was made, and the field it belongs to."""

    def _address(self, data: QueryDict) -> Address | None:
        try:
            return ConnectForm(data).address()
        except ServiceError as error:
            self.problem = (error.message, error.field)
            return None

    def change(self, form: forms.Form) -> Provider:
        assert isinstance(form, ConnectForm)
        given, organisation, name = form.cleaned_data, self.choice.organisation, form.cleaned_data["name"]
        if Provider.objects.filter(organisation=organisation, name=name).exists():
            raise ServiceError(f"there is a provider {name!r} already: edit that one, or choose another name", "name")
        credential = self._credential(name, given["secret"].strip())
        provider = provider_ensure(
            actor=self.actor,
            organisation=organisation,
            name=name,
            kind=given["kind"],
            endpoints=[EndpointSpec("default", given["base_url"].strip(), credential=credential, api_version=given["api_version"].strip())],
            simulated=organisation.simulated,
            allow_private_addresses=given["allow_private_addresses"],
            reason=self.reason,
        )
        self._prices(form, provider)
        self._routes(form, name)
        self._key(given["key_name"].strip())
        return provider

    def _key(self, name: str) -> None:
        """A key for every route, where one is asked for."""
        self.issued = None
        if not name or not self._may_create_key:
            return
        try:
            self.issued = key_create(
                actor=self.actor, organisation=self.choice.organisation, name=name, routes=[ALL_ROUTES], reason=self.reason
            )
        except ServiceError as error:
            raise ServiceError(error.message, "key_name") from error

    def _credential(self, name: str, secret: str) -> str:
        if not secret:
            return ""
        if Credential.objects.filter(organisation=self.choice.organisation, name=name).exists():
            raise ServiceError(
                f"there is a credential {name!r} already, and connecting never replaces one: choose another name, or rotate that one",
                "name",
            )
        credential_set(actor=self.actor, organisation=self.choice.organisation, name=name, value=secret, reason=self.reason)
        return name

    def _prices(self, form: ConnectForm, provider: Provider) -> None:
        """The price that was typed, for chosen models that the book does not know; the others take the book's by themselves."""
        if form.cleaned_data.get("input") is None:
            return
        price = PriceSpec(input=form.cleaned_data["input"], output=form.cleaned_data["output"])
        book = None if provider.simulated else pricebook.price_list_of(provider.endpoints.get().base_url)
        for model in form.chosen:
            if known_price(book, model) is None:
                prices_set(actor=self.actor, provider=provider, model=model, prices=[price], reason=self.reason)

    def _routes(self, form: ConnectForm, provider: str) -> None:
        how, organisation = form.cleaned_data["routes"], self.choice.organisation
        if how == NO_ROUTE:
            return
        wanted = {form.cleaned_data["route_name"]: form.chosen} if how == ONE_ROUTE else {model: [model] for model in form.chosen}
        field = "route_name" if how == ONE_ROUTE else "more"
        taken = set(routes_of(organisation).filter(name__in=wanted).values_list("name", flat=True))
        if taken:
            raise ServiceError(f"there is a route {min(taken)!r} already: untick that model, or choose one route with another name", field)
        for name, models in wanted.items():
            try:
                route_ensure(
                    actor=self.actor,
                    organisation=organisation,
                    name=name,
                    targets=[TargetSpec(provider, model) for model in models],
                    reason=self.reason,
                )
            except ServiceError as error:
                raise ServiceError(error.message, field if error.field in ("name", None) else error.field) from error

    def field_of(self, name: str | None, form: forms.Form) -> str | None:
        if name and name.startswith("endpoints["):
            name = name.rpartition(".")[2]
        return super().field_of(name, form) or ("more" if name and name.startswith("targets") else None)

    def _page(self, form: forms.Form, **more: Any) -> Any:
        self.form = form if isinstance(form, ConnectForm) else None
        if self.problem is not None:
            message, field = self.problem
            form.add_error(self.field_of(field, form), message)
        return super()._page(form, **more)

    def context(self) -> dict[str, Any]:
        form = self.form
        if form is None:
            return {}
        real = self._real_organisation()
        options, hidden = self._options(form)
        return {
            "listed": self.listed,
            "tried": self.tried,
            "options": options,
            "hidden": hidden,
            "total": len(form.found_models),
            "shown_models": SHOWN_MODELS,
            "may_create_key": self._may_create_key,
            "example": (rules.EXAMPLE_INPUT, rules.EXAMPLE_OUTPUT),
            "note": PRESETS[chosen].note if (chosen := str(form["preset"].value())) in PRESETS else "",
            "real_url": f"{reverse('providers:connect')}?org={real.slug}" if real else "",
            "real_action": f"Connect it in {real.name}" if real else "",
        }

    def _real_organisation(self) -> Organisation | None:
        """Where real providers belong, while a simulated organisation is shown: the person's first in which they may connect one."""
        if not self.choice.organisation.simulated:
            return None
        allowed = roles_for(self.permission)
        own = (row.organisation for row in self.choice.memberships if Role(row.role) in allowed)
        return next((organisation for organisation in own if not organisation.simulated), None)

    def _options(self, form: ConnectForm) -> tuple[list[ModelOption], int]:
        """The models to tick, and how many more there are: those ticked first, then what the search leaves."""
        found, ticked = form.found_models, form.ticked
        wanted = (form.data.get("search", "") if form.is_bound else "").casefold()
        left = [name for name in found if name not in ticked and wanted in name.casefold()]
        base_url = form.data.get("base_url", "") if form.is_bound else ""
        book = None if self.choice.organisation.simulated or not base_url else pricebook.price_list_of(base_url)
        names = [*ticked, *left[:SHOWN_MODELS]]
        # What a model can do does not depend on who serves it, so an address that the book does not know is no reason to be silent.
        facts = book or _BOOKS.get(form.data.get("kind", "") if form.is_bound else "")
        known = {name: package_facts(facts, name).facts if facts else NOTHING for name in names}
        options = [ModelOption(name, known_price(book, name), name in ticked, known[name]) for name in names]
        return options, max(len(left) - SHOWN_MODELS, 0)

    def title(self) -> str:
        return "Connect a provider"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Providers", reverse("providers:list"))]

    def cancel_url(self) -> str:
        return reverse("providers:list")

    def _publish(self, form: forms.Form) -> Any:
        """After publishing, outside its transaction, the connected endpoint is checked: its page begins with what is known."""
        answer = super()._publish(form)
        if self.connected is not None:
            providers_check(endpoint_ids=[str(endpoint.pk) for endpoint in self.connected.endpoints.all()])
        return answer

    def done_url(self, result: Provider) -> str:  # type: ignore[override]
        self.connected = result
        return reverse("providers:detail", args=[result.pk])

    def done_message(self, result: Provider) -> str:
        return f"{result.name} is connected"
