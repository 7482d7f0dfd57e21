"""The API: providers, credentials (which are never read back), discounts, and what models cost."""
