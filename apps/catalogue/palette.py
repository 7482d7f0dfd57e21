"""Models in the command palette."""

from __future__ import annotations

from apps.accounts.palette_objects import Objects, objects_source
from apps.providers.models import ProviderModel

models_for_palette = objects_source(
    Objects(
        "model", ProviderModel, "provider.view", "catalogue:model", "providers", ("name", "provider__name"),
        organisation="provider__organisation",
    ),
)  # fmt: skip
