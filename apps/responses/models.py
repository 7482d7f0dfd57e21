"""Responses that apps asked to be kept (``store``, ``previous_response_id``): sealed by proxies, readable by proxies only.

Rows are written and read through the functions of schema ``proxy_api`` (``migrations/0001_stored_responses.py``). Nothing of the
control plane can open ``sealed``; it counts, expires and deletes.
"""

from __future__ import annotations

from django.db import models


class StoredResponse(models.Model):
    """One turn: what it was asked with and what was answered. Earlier turns are rows of their own, found by ``previous``."""

    pk = models.CompositePrimaryKey("key_id", "response_id")
    key_id = models.CharField(max_length=36)
    """The virtual key that made it: nobody else is given it."""
    response_id = models.CharField(max_length=200)
    previous = models.CharField(max_length=200, blank=True, default="")
    """The turn before it; empty for the first one."""
    organisation = models.CharField(max_length=36)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    """Pushed on by every later turn that continues it."""
    size = models.BigIntegerField()
    """Bytes of its JSON, as it is told to a model again."""
    sealed = models.BinaryField()
    """JSON, compressed, AES-256-GCM under a key that proxies derive of the installation's pepper; bound to key and id."""

    class Meta:
        indexes = [models.Index(fields=["organisation", "created_at"], name="stored_response_of")]
