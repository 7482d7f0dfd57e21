"""Every export that can be imported: one explicit list, so that anyone can read what is understood."""

from __future__ import annotations

from apps.usage import reconciliation_anthropic, reconciliation_openai
from apps.usage.reconciliation_reading import Export, export_read

TABLES = (*reconciliation_openai.TABLES, *reconciliation_anthropic.TABLES)
PAGES = (*reconciliation_openai.PAGES, *reconciliation_anthropic.PAGES)
LABELS: dict[str, str] = {shape.name: shape.label for shape in (*TABLES, *PAGES)}


def provider_export_read(content: bytes) -> Export:
    """A provider's export in whichever of these shapes it is. Raises ReadingError."""
    return export_read(content, TABLES, PAGES)
