"""Reading ``env:NAME`` and ``file:path``, only from places that an operator allows.

Whoever may edit a document must not be able to have any file or variable of the control plane's host read into a header
that goes to an address of their choice. So: variables by pattern (``BULKHEAD_REFERENCE_ENV``), never Bulkhead's or
Django's own; files under the document's own folder or ``BULKHEAD_REFERENCE_DIR``, links resolved first, never the
installation's own secrets. No message carries a value.
"""

from __future__ import annotations

import os
import stat
from fnmatch import fnmatchcase
from pathlib import Path

from controlplane import env

ENV_SETTING, DIR_SETTING = "BULKHEAD_REFERENCE_ENV", "BULKHEAD_REFERENCE_DIR"
DEFAULT_PATTERNS = "*_API_KEY,*_KEY,*_TOKEN,*_SECRET"
NEVER = ("BULKHEAD_*", "DJANGO_*", "SECRET_KEY", "DATABASE_URL", "REDIS_URL", "PG*", "CELERY_*")
MAX_BYTES = 64 * 1024


class ReferenceRefused(ValueError):
    """A reference that may not or cannot be read; the message says which setting allows it, or what is missing."""


class References:
    """References of one document. folder: the document's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def value(self, reference: str) -> str:
        """What the reference stands for, without the line break at its end. Raises ReferenceRefused."""
        scheme, _, rest = reference.partition(":")
        return self._variable(rest) if scheme == "env" else self._content(rest)

    def missing_file(self, reference: str) -> Path | None:
        """Where a secret could be generated into: the path of a ``file:`` reference that does not exist yet, in a folder
        that does. None for anything that exists or is a variable. Raises ReferenceRefused outside the allowed places."""
        scheme, _, rest = reference.partition(":")
        if scheme != "file":
            return None
        path = self._allowed(rest)
        if os.path.lexists(path):
            return None
        if not path.parent.is_dir():
            raise ReferenceRefused(f"the folder of {rest!r} does not exist: create it first")
        return path

    def _variable(self, name: str) -> str:
        patterns = [pattern.strip() for pattern in env.read.text(ENV_SETTING, DEFAULT_PATTERNS).split(",") if pattern.strip()]
        if any(fnmatchcase(name, pattern) for pattern in NEVER):
            raise ReferenceRefused(f"{name} is one of the installation's own settings and is never read by reference")
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            raise ReferenceRefused(f"{name} is not an allowed variable: {ENV_SETTING} allows {', '.join(patterns)}")
        value = os.environ.get(name, "")
        if not value:
            raise ReferenceRefused(f"{name} is not set in the environment that runs this command")
        return value.strip()

    def _content(self, text: str) -> str:
        path = self._allowed(text)
        try:
            # O_NONBLOCK: a pipe must not hang the command; O_NOFOLLOW: the path was resolved, a link now would be a swap.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise ReferenceRefused(f"{text!r} cannot be read: {error.strerror}") from None
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ReferenceRefused(f"{text!r} is not a plain file")
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ReferenceRefused(f"{text!r} is larger than {MAX_BYTES} bytes: this is not a secret")
        try:
            value = raw.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise ReferenceRefused(f"{text!r} is not UTF-8 text") from None
        if not value:
            raise ReferenceRefused(f"{text!r} is empty")
        return value

    def _allowed(self, text: str) -> Path:
        if "\x00" in text:
            raise ReferenceRefused("a path has no NUL character")
        try:
            path = (self.folder / text).resolve()
        except (OSError, RuntimeError):
            raise ReferenceRefused(f"{text!r} cannot be resolved: it is too long, or its links run in a circle") from None
        places = [self.folder]
        extra = os.environ.get(DIR_SETTING, "")
        if extra:
            places.append(Path(extra).resolve())
        if path.is_relative_to((env.data_dir() / "secrets").resolve()):
            raise ReferenceRefused(f"{text!r} is one of the installation's own secrets and is never read by reference")
        if not any(path.is_relative_to(place) and path != place for place in places):
            raise ReferenceRefused(
                f"{text!r} leads to a place that is not allowed: files are read under the document's own folder, or under {DIR_SETTING}"
            )
        return path


def write_secret_file(path: Path, value: str) -> None:
    """A new file of mode 0600; never overwrites, never follows a link. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(value + "\n")
        file.flush()
        os.fsync(descriptor)
