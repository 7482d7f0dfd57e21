"""The API's own description: OpenAPI for programs, and a page of it for people, drawn here without anybody's bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from apps.accounts.api.views import ApiView
from apps.accounts.pages import ScopedView

PREFIX = "/api/v1/"
ORGANISATION = "organisations/{organisation}/"
ID_TEXT = "Its id, or its name where it has one without a slash."
PATH_TEXTS = {
    "number": "The version's number.",
    "seq": "Its number in the chain.",
    "team_id": "Its id or slug.",
    "service_id": "Its id or slug.",
    "region": "By its name.",
    "layer": "By its name.",
}
METHODS = ("get", "post", "put", "patch", "delete")


@cache
def schema() -> dict[str, Any]:
    """OpenAPI 3, made once per process: addresses and serializers do not change while it runs."""
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return found


def api_only(endpoints: list[Any]) -> list[Any]:
    """Preprocessing: what lies elsewhere (flag evaluation for apps) describes itself."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(PREFIX)]


def failures_told(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Postprocessing: every operation may fail, in the one shape; writes to what others may change take ``If-Match``."""
    error = {name: {"type": "string"} for name in ("code", "message", "request_id")}
    error |= {"field": {"type": "string", "nullable": True}, "details": {"type": "object", "additionalProperties": {}}}
    shape = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "object", "required": list(error), "properties": error}},
    }
    result["components"]["schemas"]["Failure"] = shape
    answer = {"description": "It failed.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}}
    for methods in result["paths"].values():
        for method, told in methods.items():
            if method not in METHODS:
                continue
            told.setdefault("responses", {})["default"] = answer
            headers = told.setdefault("parameters", [])
            for row in headers:
                if row["in"] == "path":
                    row.setdefault("description", "Its slug." if row["name"] == "organisation" else PATH_TEXTS.get(row["name"], ID_TEXT))
            if method != "get":
                headers.append(_header("Idempotency-Key", "Sent again with the same key within 24 hours, it is done once."))
            if method in ("put", "patch") or (method == "delete" and "get" in methods):
                headers.append(_header("If-Match", "The ETag that was read; * to overwrite whatever holds.", required=True))
    return result


def _header(name: str, text: str, *, required: bool = False) -> dict[str, Any]:
    return {"in": "header", "name": name, "schema": {"type": "string"}, "description": text, "required": required}


class SchemaView(ApiView):
    """OpenAPI 3 as JSON, for whoever is signed in or has a token."""

    @extend_schema(exclude=True, responses=OpenApiTypes.OBJECT)
    def get(self, request: Any) -> Response:
        return Response(schema())


COMMON = frozenset({"organisation", "limit", "cursor", "Idempotency-Key", "If-Match"})
"""Parameters that the page of the API tells once, above."""


@dataclass(frozen=True, slots=True)
class Field:
    """A line of a body or of the address. depth: of nesting, from 0."""

    name: str
    kind: str
    required: bool
    text: str
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address. body_like, answer_like: the operation above that has the same, told once."""

    method: str
    path: str
    text: str
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    answer: tuple[Field, ...]
    body_like: str = ""
    answer_like: str = ""

    @property
    def own_parameters(self) -> tuple[Field, ...]:
        """Those that are not told above for all."""
        return tuple(field for field in self.parameters if field.name not in COMMON)

    @property
    def common_parameters(self) -> tuple[str, ...]:
        """The names of the others."""
        return tuple(field.name for field in self.parameters if field.name in COMMON)

    @property
    def line(self) -> str:
        """The first sentence of what it does."""
        return self.text.split("\n")[0]

    @property
    def anchor(self) -> str:
        return f"{self.method}-{self.path.strip('/').replace('/', '-').replace('{', '').replace('}', '')}"


def operations(document: Mapping[str, Any]) -> dict[str, list[Operation]]:
    """By the first word of the address behind the organisation, in the schema's order."""
    found: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        group = path.removeprefix(PREFIX).removeprefix(ORGANISATION).split("/")[0] or "organisations"
        for method in METHODS:
            if method in methods:
                found.setdefault(group, []).append(_operation(document, path, method, methods[method]))
    return {group: _told_once(rows) for group, rows in found.items()}


def _told_once(rows: list[Operation]) -> list[Operation]:
    """Without bodies and answers that one above has told already."""
    bodies: dict[tuple[Field, ...], str] = {}
    answers: dict[tuple[Field, ...], str] = {}
    told = []
    for row in rows:
        body = bodies.get(row.body, "") if row.body else ""
        answer = answers.get(row.answer, "") if row.answer else ""
        bodies.setdefault(row.body, row.anchor)
        answers.setdefault(row.answer, row.anchor)
        shown = {"body": () if body else row.body, "answer": () if answer else row.answer}
        told.append(replace(row, **shown, body_like=body, answer_like=answer))
    return told


def _operation(document: Mapping[str, Any], path: str, method: str, told: Mapping[str, Any]) -> Operation:
    responses = told.get("responses", {})
    good = next((responses[code] for code in responses if code.startswith("2")), {})
    parameters = tuple(
        Field(row["name"], _kind(row.get("schema", {})), row.get("required", False), row.get("description", ""))
        for row in told.get("parameters", ())
    )
    return Operation(
        method, path, told.get("description", ""), parameters,
        tuple(_fields(document, _schema_of(told.get("requestBody", {})), hidden="readOnly")),
        tuple(_fields(document, _schema_of(good), hidden="writeOnly")),
    )  # fmt: skip


def _schema_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    content = body.get("content", {})
    found: Mapping[str, Any] = next(iter(content.values()), {}).get("schema", {})
    return found


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema or "allOf" in schema:
        if "allOf" in schema:
            schema = {**schema["allOf"][0], **{name: value for name, value in schema.items() if name != "allOf"}}
            continue
        schema = {
            **document["components"]["schemas"][schema["$ref"].rpartition("/")[2]],
            **{k: v for k, v in schema.items() if k != "$ref"},
        }
    return schema


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0, *, hidden: str) -> Iterator[Field]:
    """The properties of an object, what lies in them below, down to three levels. hidden: the mark of those left out."""
    schema = _resolved(document, schema)
    if schema.get("type") == "array":
        yield from _fields(document, schema["items"], depth, hidden=hidden)
        return
    required = set(schema.get("required", ()))
    for name, inner in schema.get("properties", {}).items():
        inner = _resolved(document, inner)
        if inner.get(hidden):
            continue
        text = str(inner.get("description", "")).split("\n\n")[0]
        yield Field(name, _kind(inner), name in required, text, depth)
        if depth < 2:
            below = _resolved(document, inner["items"]) if inner.get("type") == "array" else inner
            if below.get("properties"):
                yield from _fields(document, below, depth + 1, hidden=hidden)


def _kind(schema: Mapping[str, Any]) -> str:
    """The type in a word or two: ``integer``, ``date-time or null``, ``one of real, simulated``."""
    if schema.get("enum"):
        kind = "one of " + ", ".join(str(value) if value != "" else "“”" for value in schema["enum"])
    elif schema.get("type") == "array":
        kind = "list"
    else:
        kind = str(schema.get("format") or schema.get("type") or "object")
    return f"{kind} or null" if schema.get("nullable") else kind


@cache
def reference_drawn() -> tuple[tuple[str, ...], SafeString]:
    """The groups of operations, and all of them for people: drawn once per process, half a megabyte that follows from the schema alone."""
    found = operations(schema())
    return tuple(found), render_to_string("api/operations.html", {"groups": found})


class ApiPageView(ScopedView):
    """``/settings/api/``: every address of the API, with its fields, to read."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponseBase:
        groups, drawn = reference_drawn()
        context = {
            "choice": self.choice, "tab": "api", "groups": groups, "reference": drawn, "info": schema()["info"],
            "base": request.build_absolute_uri(PREFIX), "slug": self.choice.organisation.slug,
        }  # fmt: skip
        return render(request, "api/reference.html", context)
