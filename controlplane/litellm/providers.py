"""Deployments of ``model_list`` -> providers, credentials and prices: one provider for each address and credential that is used.

A deployment's prefix says who serves it, and in which format. Clouds' many parameters are read by ``clouds``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from apps.contracts.addresses import host_refusal
from controlplane.configfile.document import KEPT, CredentialEntry, EndpointEntry, PriceEntry, ProviderEntry
from controlplane.litellm.clouds import PREFIXES, NoPlace, azure_account, azure_version, cloud
from controlplane.litellm.notes import Notes
from controlplane.litellm.reading import Config, number, reference_of, slug


class Vendor(NamedTuple):
    """base_url: where LiteLLM's prefix leads unless ``api_base`` says otherwise; empty: it has to. variable: of the credential.
    suffix: what ``api_base`` lacks to be the path of its API. words: what is different from before; empty: nothing. kind: its format."""

    base_url: str
    variable: str = ""
    suffix: str = ""
    words: str = ""
    kind: str = "openai"


VENDORS: dict[str, Vendor] = {
    "openai": Vendor("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "azure": Vendor(
        "", "AZURE_API_KEY", "/openai/v1", "called through Azure's v1 API, which takes the deployment's name as the model", "azure"
    ),
    "anthropic": Vendor("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", "/v1", kind="anthropic"),
    "gemini": Vendor("https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY", kind="gemini"),
    "cohere": Vendor("https://api.cohere.com", "COHERE_API_KEY", kind="cohere"),
    "cohere_chat": Vendor("https://api.cohere.com", "COHERE_API_KEY", kind="cohere"),
    "groq": Vendor("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": Vendor("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "deepseek": Vendor("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "together_ai": Vendor("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": Vendor("https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    "openrouter": Vendor("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "perplexity": Vendor("https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    "xai": Vendor("https://api.x.ai/v1", "XAI_API_KEY"),
    "deepinfra": Vendor("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "nvidia_nim": Vendor("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    "cerebras": Vendor("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "sambanova": Vendor("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    "databricks": Vendor("", "DATABRICKS_API_KEY"),
    "hosted_vllm": Vendor("", "HOSTED_VLLM_API_KEY"),
    "lm_studio": Vendor("", "LM_STUDIO_API_KEY"),
    "openai_like": Vendor("", "OPENAI_LIKE_API_KEY"),
    "custom_openai": Vendor("", ""),
    "litellm_proxy": Vendor("", "LITELLM_PROXY_API_KEY"),
    "ollama": Vendor("http://localhost:11434", "", kind="ollama"),
    "ollama_chat": Vendor("http://localhost:11434", "", kind="ollama"),
    "llamafile": Vendor("http://127.0.0.1:8080/v1"),
    "xinference": Vendor("http://127.0.0.1:9997/v1", "XINFERENCE_API_KEY"),
}
"""Prefixes that lead to something of which the proxy speaks the format, beside the clouds' (``clouds.PREFIXES``)."""

STOOD = "its secret stood in the file: it is kept encrypted now, take it out there"
UNPREFIXED = ("gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding-", "ft:gpt-")
"""What LiteLLM takes for OpenAI's without a prefix."""
MODES = ("", "chat", "embedding")

PRICES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
}
"""Costs in dollars per token -> kinds of our prices."""
OTHER_COSTS = tuple(f"{side}_cost_per_{unit}" for side in ("input", "output") for unit in ("second", "character", "image"))
_PER_MILLION = Decimal(10) ** 15
"""Dollars per token -> nano-dollars per million tokens."""


class Placed(NamedTuple):
    """Where a deployment's requests go: the name of a provider, and the model's name there."""

    provider: str
    model: str


class Providers:
    """Collects what deployments need. literal: credential's name -> a secret that stood in the file itself."""

    def __init__(self, config: Config, notes: Notes, *, kept: frozenset[str] = frozenset()) -> None:
        """kept: names of credentials that are here already: a variable that is not set any more leaves them as they are."""
        self._config = config
        self._notes = notes
        self._kept = kept
        self._by_place: dict[tuple[str, ...], ProviderEntry] = {}
        self._names: set[str] = set()
        self.providers: list[ProviderEntry] = []
        self.credentials: list[CredentialEntry] = []
        self.literal: dict[str, str] = {}

    def place(self, name: str, entry: Mapping[str, Any]) -> Placed | None:
        """Where the requests of one deployment go; None, with a note, where the proxy could not send them. name: of its group."""
        params: Mapping[str, Any] = entry["litellm_params"]
        info = entry.get("model_info") if isinstance(entry.get("model_info"), Mapping) else {}
        assert isinstance(info, Mapping)
        prefix, model = split(params["model"], str(params.get("custom_llm_provider") or ""))
        what = f"{name} ({params['model']})"
        vendor = VENDORS.get(prefix)
        mode = str(info.get("mode") or "")
        if vendor is None and prefix not in PREFIXES:
            self._notes.leave(what, f"the prefix {prefix or '(none)'!r} is of no known API; connect it by hand")
            return None
        if mode not in MODES:
            self._notes.leave(what, f"the proxy serves chat and embeddings, not {mode}")
            return None
        if "*" in model or "*" in name:
            self._notes.leave(what, "a wildcard hands on the name that was asked for; make a route for each model that is used")
            return None
        try:
            found = self._cloud(prefix, model, params) if vendor is None else self._vendor(prefix, model, params, vendor)
        except NoPlace as reason:
            self._notes.leave(what, str(reason))
            return None
        provider, model, words = found
        if words:
            self._notes.change(what, words)
        self._price(provider, model, {**info, **params}, what)
        return Placed(provider.name, model)

    def _cloud(self, prefix: str, model: str, params: Mapping[str, Any]) -> tuple[ProviderEntry, str, str]:
        found = cloud(prefix, model, params, self._config)
        entry = self._entry(prefix, found.base_url, found.kind, "", literal=found.secret, needed=True)
        return entry, found.model, found.words

    def _vendor(self, prefix: str, model: str, params: Mapping[str, Any], vendor: Vendor) -> tuple[ProviderEntry, str, str]:
        version = azure_version(params, self._config) if prefix == "azure" else ""
        if version:
            vendor = vendor._replace(suffix="/openai", words="", kind="azure-deployments")
        base_url = self._base_url(params, vendor)
        if not base_url:
            raise NoPlace(f"{prefix} needs an api_base, and none is set or it is no http(s) address")
        if prefix == "azure" and params.get("azure_ad_token") and not params.get("api_key"):
            raise NoPlace("azure_ad_token is a token that ends by itself; connect it by an Entra application or a key")
        account = azure_account(params, self._config) if prefix == "azure" and not params.get("api_key") else ""
        if account:
            return self._entry(prefix, base_url, vendor.kind, version, literal=account), model, vendor.words
        return self._provider(prefix, base_url, params, vendor, version), model, vendor.words

    def _base_url(self, params: Mapping[str, Any], vendor: Vendor) -> str:
        given = params.get("api_base") or params.get("base_url") or ""
        if (variable := reference_of(given)) and isinstance(self._config.variables.get(variable), str):
            given = self._config.variables[variable]
        base = str(given or vendor.base_url).strip().split("?", 1)[0].rstrip("/")
        if vendor.suffix and base:
            base = base.split("/openai/deployments", 1)[0].removesuffix("/v1").removesuffix("/openai").rstrip("/") + vendor.suffix
        if vendor.kind in ("ollama", "cohere"):
            base = re.sub(r"/(?:v1|v2|api)(?:/chat)?$", "", base)
        parts = urlsplit(base)
        return base if parts.scheme in ("http", "https") and parts.hostname and not parts.username else ""

    def _provider(self, prefix: str, base_url: str, params: Mapping[str, Any], vendor: Vendor, version: str) -> ProviderEntry:
        secret = params.get("api_key")
        variable = reference_of(secret)
        literal = str(secret) if secret and not variable else ""
        if not secret and vendor.variable:
            variable = vendor.variable
        if variable and isinstance(value := self._config.variables.get(variable), str) and not reference_of(value):
            literal = value
        return self._entry(prefix, base_url, vendor.kind, version, literal=literal, variable=variable)

    def _entry(
        self, prefix: str, base_url: str, kind: str, version: str, *, literal: str = "", variable: str = "", needed: bool = False
    ) -> ProviderEntry:
        """The provider at an address with a credential. literal: its text. variable: where that is read from. needed: it has one, even
        where its text could not be read here. Raises NoPlace."""
        place = (base_url, kind, version, literal or variable)
        found = self._by_place.get(place)
        if found is not None:
            return found
        host = urlsplit(base_url).hostname or ""
        name = self._free(prefix, host)
        credential = ""
        if needed and not literal and name not in self._kept:
            raise NoPlace("its credential is not readable here: set the variables that the file names, or connect it by hand")
        if literal or variable or needed:
            credential = name
            self.credentials.append(CredentialEntry(name=name, secret=f"env:{variable}" if variable and not literal else KEPT))
            if literal:
                self.literal[name] = literal
                made = literal.startswith("{") and "made of what the file and its variables say: it is kept encrypted now"
                self._notes.change(f"credential {name}", made or STOOD)
            elif name in self._kept and not os.environ.get(variable):
                self.credentials[-1].secret = KEPT
        private = bool(host_refusal(host, allow_private=False)) or "." not in host
        if private:
            self._notes.change(f"provider {name}", "its address is a private one, which proxies may call for it from now on")
        endpoint = EndpointEntry(base_url=base_url, credential=credential, api_version=version)
        found = ProviderEntry(name=name, kind=kind, endpoints=[endpoint], allow_private_addresses=private)
        self._by_place[place] = found
        self.providers.append(found)
        return found

    def _free(self, prefix: str, host: str) -> str:
        """The prefix for the first provider of it, then with its host, then with a number."""
        first = slug(prefix)
        names = [first, f"{first}-{slug(host.split('.', 1)[0], most=40)}", *(f"{first}-{number}" for number in range(2, 1000))]
        name = next(name for name in names if name not in self._names)
        self._names.add(name)
        return name

    def _price(self, provider: ProviderEntry, model: str, costs: Mapping[str, Any], what: str) -> None:
        amounts: dict[str, int] = {}
        for theirs, ours in PRICES.items():
            cost = number(costs.get(theirs))
            if cost is not None and cost >= 0:
                amounts[ours] = int((cost * _PER_MILLION).to_integral_value(rounding=ROUND_CEILING))
        for theirs in OTHER_COSTS:
            if costs.get(theirs) is not None:
                self._notes.leave(f"{theirs} of {what}", "prices here are per token or request; write the price by hand")
        if "input" not in amounts:
            return
        price = PriceEntry(model=model, output=amounts.pop("output", 0), input=amounts.pop("input"), **amounts)
        for at, known in enumerate(provider.prices):
            if known.model == model:
                if known != price:
                    self._notes.change(what, "another deployment of the model has other costs: the dearer ones hold for both")
                    provider.prices[at] = max(known, price, key=lambda each: (each.input + each.output, each.input))
                return
        provider.prices.append(price)


def split(model: str, custom: str) -> tuple[str, str]:
    """(prefix, the model's name there) of LiteLLM's ``model``."""
    prefix, slash, rest = model.partition("/")
    if custom:
        return custom, rest if slash and prefix == custom else model
    if slash and (prefix in VENDORS or prefix in PREFIXES or not model.startswith(UNPREFIXED)):
        return prefix, rest
    return ("openai", model) if model.startswith(UNPREFIXED) else ("", model)
