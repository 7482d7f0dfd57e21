"""Static files as browsers should get them: named by their content, so that they are cached for ever, and compressed once.

``collectstatic`` writes them with a manifest; the launcher runs it when a file changed. Without a manifest (tests, a bare
``uvicorn``) every file keeps its own name and is found where it lies, so nothing has to be built to work.
"""

from __future__ import annotations

from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFiles(CompressedManifestStaticFilesStorage):
    """The storage of ``STORAGES["staticfiles"]``."""

    manifest_strict = False

    def stored_name(self, name: str) -> str:
        """The name with the content's hash; the name itself where the manifest does not know it."""
        known: Any = self.hashed_files.get(self.hash_key(self.clean_name(name)))
        return known if isinstance(known, str) else name
