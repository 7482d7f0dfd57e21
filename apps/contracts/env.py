"""Settings of the pure processes (proxy, agent, simulator), read from ``BULKHEAD_*`` once, at start.

The twin of ``controlplane/env.py``; the same names mean the same in both. A value that does not
parse stops the process with the variable's name and what it should look like.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


class SettingError(SystemExit):
    """Stops the process with exit code 2 and a sentence that names the variable."""

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Reader:
    """Typed reads of environment variables."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ

    def text(self, name: str, default: str | None = None) -> str:
        value = self._environ.get(name, "")
        if value:
            return value
        if default is None:
            raise SettingError(f"{name} is not set")
        return default

    def integer(self, name: str, default: int, *, minimum: int = 0) -> int:
        value = self._environ.get(name, "")
        if not value:
            return default
        try:
            number = int(value)
        except ValueError:
            raise SettingError(f"{name}={value!r} is not a whole number") from None
        if number < minimum:
            raise SettingError(f"{name}={number} is below {minimum}")
        return number

    def flag(self, name: str, default: bool) -> bool:
        value = self._environ.get(name, "").lower()
        if not value:
            return default
        if value in ("1", "true", "yes", "on"):
            return True
        if value in ("0", "false", "no", "off"):
            return False
        raise SettingError(f"{name}={value!r} is not yes or no")

    def path(self, name: str, default: str | None = None) -> Path:
        return Path(self.text(name, default)).absolute()

    def secret(self, name: str, default: str | None = None) -> bytes:
        """The value of ``NAME``, or the content of the file that ``NAME_FILE`` names."""
        file = self._environ.get(f"{name}_FILE", "")
        if file:
            try:
                return Path(file).read_bytes().strip()
            except OSError as error:
                raise SettingError(f"{name}_FILE={file!r} cannot be read: {error.strerror}") from None
        return self.text(name, default).encode()
