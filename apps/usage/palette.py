"""Providers' exports that were compared with what was recorded, in the command palette."""

from __future__ import annotations

from apps.accounts.palette_objects import Objects, objects_source
from apps.usage.models import ProviderExport

exports_for_palette = objects_source(
    Objects("export", ProviderExport, "budget.view", "costs:reconciliation", "spend", ("file_name", "provider"))
)
