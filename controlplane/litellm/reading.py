"""The config file and the tables' export as plain data, with readers of single values. Refusals name the place and what to write.

Shapes are those of LiteLLM's public documentation of ``config.yaml`` and of its database schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from controlplane.configfile.problems import DocumentError, Problem

MAX_BYTES = 64 * 1024 * 1024
SECTIONS = ("model_list", "router_settings", "litellm_settings", "general_settings", "environment_variables")
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_REFERENCE = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")


class Config:
    """A config file: its sections, each of the type it should have."""

    def __init__(self, file: str, values: Mapping[str, Any]) -> None:
        self.file = file
        self.values = values
        self.models: list[Mapping[str, Any]] = self._list("model_list")
        self.router: Mapping[str, Any] = self._mapping("router_settings")
        self.library: Mapping[str, Any] = self._mapping("litellm_settings")
        self.general: Mapping[str, Any] = self._mapping("general_settings")
        self.variables: Mapping[str, Any] = self._mapping("environment_variables")

    def _mapping(self, name: str) -> Mapping[str, Any]:
        found = self.values.get(name) or {}
        if not isinstance(found, Mapping):
            raise refused(self.file, name, "is a mapping in LiteLLM's config")
        return found

    def _list(self, name: str) -> list[Mapping[str, Any]]:
        found = self.values.get(name) or []
        if not isinstance(found, list):
            raise refused(self.file, name, "is a list in LiteLLM's config")
        for at, entry in enumerate(found):
            if not isinstance(entry, Mapping) or not isinstance(entry.get("model_name"), str):
                raise refused(self.file, f"{name}[{at}]", "is a mapping with a model_name and litellm_params")
            if not isinstance(entry.get("litellm_params"), Mapping) or not isinstance(entry["litellm_params"].get("model"), str):
                raise refused(self.file, f"{name}[{at}].litellm_params", "is a mapping with a model, such as openai/gpt-4o")
        return found


def read_config(path: Path) -> Config:
    """A LiteLLM ``config.yaml``. Raises DocumentError."""
    text = _text(path)
    try:
        values = yaml.load(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(str(path), [Problem(mark.line + 1 if mark else 0, "", f"not YAML: {error.problem or error.context}")]) from None
    except yaml.YAMLError as error:
        raise refused(str(path), "", f"not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, Mapping) or not any(name in values for name in SECTIONS):
        raise refused(str(path), "", f"this is not a LiteLLM config: it has none of {', '.join(SECTIONS)}")
    return Config(str(path), values)


def read_tables(path: Path) -> dict[str, list[Mapping[str, Any]]]:
    """Tables of LiteLLM's database as JSON, ``{"LiteLLM_VerificationToken": [rows], ...}``, or the rows of keys alone.

    Raises DocumentError."""
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise refused(str(path), "", f"not JSON: {error}") from None
    if isinstance(found, list):
        found = {"LiteLLM_VerificationToken": found}
    if not isinstance(found, Mapping):
        raise refused(str(path), "", "holds an object of tables, or the list of keys")
    short = {"keys": "LiteLLM_VerificationToken", "teams": "LiteLLM_TeamTable", "budgets": "LiteLLM_BudgetTable"}
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for name, rows in found.items():
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise refused(str(path), str(name), "is a list of rows, each an object by column names")
        tables[short.get(name, name)] = rows
    return tables


def refused(file: str, field: str, message: str) -> DocumentError:
    """An error about one place of a file."""
    return DocumentError(file, [Problem(0, field, message)])


def reference_of(value: Any) -> str:
    """``NAME`` of ``os.environ/NAME``; empty for anything else."""
    match = _REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
    return match[1] if match else ""


def number(value: Any) -> Decimal | None:
    """A number as YAML, JSON or a text has it, exactly; None for what is none."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def whole(value: Any) -> int:
    """A whole number above zero; 0 for what is none."""
    found = number(value)
    return int(found) if found is not None and found >= 1 else 0


def milliseconds(value: Any) -> int:
    """Seconds as milliseconds; 0 for what is no length of time."""
    found = number(value)
    return int(found * 1000) if found is not None and found > 0 else 0


def document(value: Any) -> Mapping[str, Any]:
    """A JSON column: an object, or the text of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}


def texts(value: Any) -> list[str]:
    """A column of texts: a list, or Postgres's ``{a,b}``."""
    if isinstance(value, str):
        inner = value.strip()
        value = [part.strip().strip('"') for part in inner[1:-1].split(",")] if inner.startswith("{") and inner.endswith("}") else [inner]
    return [item.strip() for item in value if isinstance(item, str) and item.strip()] if isinstance(value, list) else []


def slug(text: str, *, most: int = 60, dots: bool = False) -> str:
    """A name of ours out of any text: lower case, other characters as '-'; empty where nothing is left."""
    allowed = r"[^a-z0-9._-]+" if dots else r"[^a-z0-9]+"
    return re.sub(allowed, "-", text.lower()).strip("-._")[:most].strip("-._")


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise refused(str(path), "", f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise refused(str(path), "", f"the file has {len(raw)} bytes: at most {MAX_BYTES} are read")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(str(path), "", f"byte {error.start} is not UTF-8: save the file as UTF-8") from None
