"""Models with their prices, discounts, prices of GPUs and re-pricings in the command palette."""

from __future__ import annotations

from apps.accounts.palette_objects import Objects, objects_source
from apps.prices.models import GpuPrice, Repricing, UnitPrice
from apps.providers.models import Discount, ProviderModel

prices_for_palette = objects_source(
    Objects(
        "model price",
        ProviderModel,
        "budget.view",
        "prices:model",
        "spend",
        ("name", "provider__name"),
        organisation="provider__organisation",
    ),
    Objects("discount", Discount, "price.change", "prices:discount", "spend", ("name", "provider__name")),
    Objects("unit price", UnitPrice, "price.change", "prices:unit", "spend", ("name", "model", "provider__name")),
    Objects("GPU price", GpuPrice, "price.change", "prices:gpu", "spend", ("name", "gpu")),
    Objects("re-pricing", Repricing, "budget.view", "prices:repricing", "history", ("reason", "provider", "model")),
)
