"""The API: teams and services."""
