"""Static files as browsers should get them: named by their content, so that they are cached for ever, and compressed once.

``collectstatic`` writes them with a manifest; the web process runs it as it starts, when a file changed. Without a manifest (tests, a
directory that cannot be written) every file keeps its own name and is found where it lies, so nothing has to be built to work.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from whitenoise.storage import CompressedManifestStaticFilesStorage

log = logging.getLogger(__name__)

IGNORED = ["rest_framework"]
"""Of no page of ours."""
MARK = "collected"
STYLES = tuple(f"css/{name}.css" for name in ("tokens", "base", "layout", "components", "controls", "print"))
"""What every page is drawn with, in order."""
BUNDLE = "css/bulkhead.css"
"""All of it in one file, made while files are collected: a page is painted after one answer instead of six."""


class StaticFiles(CompressedManifestStaticFilesStorage):
    """The storage of ``STORAGES["staticfiles"]``."""

    manifest_strict = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._addresses: dict[str, str] = {}

    def url(self, name: str, force: bool = False) -> str:
        """Kept once it is known by its content: a page names a dozen, and the manifest is read once in a process."""
        if (known := self._addresses.get(name)) is not None:
            return known
        found: str = super().url(name, force)
        if self.stored_name(name) != name:
            self._addresses[name] = found
        return found

    def post_process(self, paths: dict[str, Any], dry_run: bool = False, **options: Any) -> Iterator[Any]:
        """Adds the bundle of stylesheets to what is collected."""
        if not dry_run and all(name in paths for name in STYLES):
            parts = []
            for name in STYLES:
                storage, path = paths[name]
                with storage.open(path) as file:
                    parts.append(file.read())
            self.delete(BUNDLE)
            self._save(BUNDLE, ContentFile(b"".join(parts)))
            paths = {**paths, BUNDLE: (self, BUNDLE)}
        yield from super().post_process(paths, dry_run, **options)
        self._addresses.clear()

    def stylesheets(self) -> list[str]:
        """The addresses of what every page is drawn with: one where files were collected, else each as it lies."""
        return [self.url(name) for name in ([BUNDLE] if self.stored_name(BUNDLE) != BUNDLE else STYLES)]

    def stored_name(self, name: str) -> str:
        """The name with the content's hash; the name itself where the manifest does not know it."""
        known: Any = self.hashed_files.get(self.hash_key(self.clean_name(name)))
        return known if isinstance(known, str) else name


def _fingerprint() -> str:
    """Of every file that would be collected: name, size, time of change."""
    from django.contrib.staticfiles.finders import get_finders

    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list(IGNORED):
            facts = Path(storage.path(name)).stat()
            digest.update(f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def collect_when_changed() -> bool:
    """Collect the static files if any changed since they were collected; whether it did. Takes about a second, then milliseconds.

    Where it cannot write, the pages work with the files as they lie, and the log says so.
    """
    from django.core.management import call_command

    root = Path(settings.STATIC_ROOT)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root.parent / f"{root.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several web processes may start at once
            wanted, mark = _fingerprint(), root / MARK
            if mark.is_file() and mark.read_text() == wanted:
                return False
            call_command("collectstatic", interactive=False, verbosity=0, clear=True, ignore_patterns=IGNORED)
            mark.write_text(wanted)
            return True
    except OSError as error:
        log.warning("static files are served uncompressed: %s cannot be written (%s)", root, error)
        return False
