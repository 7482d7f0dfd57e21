"""The API: what models can do."""
