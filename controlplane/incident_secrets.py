"""The signing secret of a slash command, read where an operator allows: variables by pattern, files below the data directory's folder
``references`` or ``BULKHEAD_REFERENCE_DIR`` (``controlplane.configfile.references``)."""

from __future__ import annotations

from apps.postmortems.incident_chat_services import register_secret_reader
from controlplane import env
from controlplane.configfile.references import References

FOLDER = "references"


def secret_of(reference: str) -> str:
    """What ``env:NAME`` or ``file:path`` stands for. Raises ValueError with what to do."""
    return References(env.data_dir() / FOLDER).value(reference)


def register() -> None:
    """Called once the apps are ready."""
    register_secret_reader(secret_of)
