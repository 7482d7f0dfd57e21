"""Collections and objects of one organisation whose changes are published with the write, in one transaction.

``?dry_run=1`` on a write does it, compiles what it would publish with the proxies' own compiler, undoes it, and answers with the
difference. What a config document manages is refused with the entry to write there, except with ``?anyway=1``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar

from django.db import connection
from django.db.models import QuerySet
from rest_framework import serializers, status
from rest_framework.generics import GenericAPIView
from rest_framework.response import Response
from rest_framework.reverse import reverse

from apps.accounts.api.errors import ApiError
from apps.accounts.api.etags import etag_of, precondition_require, unchanged
from apps.accounts.api.pagination import Pages
from apps.accounts.api.views import ApiView, found_or_404, uuid_of
from apps.publishing.managed import Guard, ManagedByDocument, Touched
from apps.publishing.models import Version
from apps.publishing.preview import Preview, change_preview, change_publish

VERSION_HEADER = "Bulkhead-Config-Version"
MANAGED_HEADER = "Bulkhead-Managed-By"
"""Of a write that makes something read otherwise than the document that manages it: that document."""
YES = frozenset({"1", "true", "yes"})


class Managed(ApiError):
    """A write to what a document manages; ``details.managed`` has the entries to write there instead."""

    status_code = status.HTTP_409_CONFLICT
    code = "managed_by_document"

    def __init__(self, refused: ManagedByDocument) -> None:
        super().__init__(f"{refused.message} (?anyway=1 with a reason)", details={"managed": managed_told(refused.touched)})


class Resource(ApiView, GenericAPIView):  # type: ignore[type-arg]
    """What the collection and the object of one kind share.

    kind: the audit's ``subject_kind``. what: the word for people. object_name: the object's URL name. argument: its URL's argument,
    an id, or the thing's name. named_by: the model's field that the argument may name. shown_as: what the representation calls that
    field, where it does otherwise. volatile: fields of its representation that change by use.
    """

    kind: ClassVar[str] = ""
    object_name: ClassVar[str] = ""
    argument: ClassVar[str] = ""
    named_by: ClassVar[str] = "name"
    shown_as: ClassVar[str] = ""
    volatile: ClassVar[Collection[str]] = ()
    ordering: ClassVar[tuple[str, ...]] = ("name",)
    pagination_class = Pages
    version: Version | None = None
    """The version that a write was published with, once it was."""

    def rows(self) -> QuerySet[Any]:
        """The organisation's things, with what their representation takes."""
        raise NotImplementedError

    def find(self, reference: str) -> Any:
        """The thing that an address names. Raises Http404."""
        key = uuid_of(reference)
        found = self.rows().filter(**({"pk": key} if key else {self.named_by: reference})).first()
        return found_or_404(found, self.what, reference)

    @property
    def what(self) -> str:
        return self.kind.replace("_", " ")

    def represent(self, row: Any) -> dict[str, Any]:
        """The thing as the API shows it."""
        return dict(self.get_serializer(row).data)

    def context_of(self, rows: list[Any]) -> dict[str, Any]:
        """What the serializer of these rows needs beside them, such as names; read once for all."""
        return {}

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "organisation": getattr(self, "organisation", None), **getattr(self, "_more", {})}

    def represent_all(self, rows: list[Any]) -> list[dict[str, Any]]:
        self._more = self.context_of(rows)
        return list(self.get_serializer(rows, many=True).data)

    def represent_one(self, row: Any) -> dict[str, Any]:
        self._more = self.context_of([row])
        return self.represent(row)

    def validated(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Input judged by the serializer, its reason left out. Raises ValidationError."""
        serializer = self.get_serializer(data=data)
        serializer.is_valid(raise_exception=True)
        values = dict(serializer.validated_data)
        values.pop("reason", None)
        return values

    def published(self, change: Callable[[], Any], answer: Callable[[Any], Response]) -> Response:
        """Do a change and publish it, or show what it would do. ``answer``: from what the change returned."""
        dry = self.asked("dry_run")
        guard = Guard(
            change, actor=self.actor, organisation=self.organisation, anyway=self.asked("anyway"), refuse=not dry, reason=self.reason
        )
        if dry:
            found = change_preview(actor=self.actor, change=guard)
            return Response({**previewed(found), "managed": managed_told(guard.touched)})
        try:
            result, version = change_publish(actor=self.actor, reason=self.reason, change=guard)
        except ManagedByDocument as refused:
            raise Managed(refused) from refused
        self.version = version if isinstance(version, Version) else None
        response = answer(result)
        if isinstance(version, Version):
            response[VERSION_HEADER] = str(version.number)
        if guard.touched:
            response[MANAGED_HEADER] = ", ".join(sorted({one.thing.document for one in guard.touched}))
        return response

    def asked(self, name: str) -> bool:
        """Whether the address says yes to something."""
        return self.request.query_params.get(name, "").casefold() in YES

    def written(self, row: Any, *, created: bool = False, more: Mapping[str, Any] | None = None) -> Response:
        """The answer to a write: the thing as it is now, with its tag. more: fields that are shown this once."""
        data = self.represent_one(self.rows().get(pk=row.pk))
        response = Response({**data, **(more or {})}, status.HTTP_201_CREATED if created else status.HTTP_200_OK)
        response["ETag"] = etag_of(data, self.volatile)
        if created:
            arguments = {"organisation": self.organisation.slug, self.argument: str(row.pk)}
            response["Location"] = reverse(f"api:{self.object_name}", kwargs=arguments)
        return response


class CollectionView(Resource):
    """``GET`` a page of them (``?q=`` part of a name), ``POST`` a new one."""

    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        rows, asked = self.rows(), request.query_params.get("q", "").replace("\x00", "").strip()[:200]
        if asked:
            rows = rows.filter(**{f"{self.named_by}__icontains": asked})
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(self.represent_all(list(page or [])))

    def create(self, values: dict[str, Any]) -> Any:
        """Call the service that makes a new one. Raises ServiceError where it exists already."""
        raise NotImplementedError

    def create_more(self, result: Any) -> tuple[Any, dict[str, Any]]:
        """The row that ``create`` made, and what is shown this once."""
        return result, {}


class CreatableView(CollectionView):
    """A collection that may be added to."""

    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            values = self.validated(self.given())

            def answer(result: Any) -> Response:
                row, more = self.create_more(result)
                return self.written(row, created=True, more=more)

            return self.published(lambda: self.create(values), answer)

        return self.once(act)


class ReadableView(Resource):
    """``GET`` one thing, with its ``ETag``; with ``If-None-Match`` 304 where it is known already."""

    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        data = self.represent_one(self.find(kwargs[self.argument]))
        etag = etag_of(data, self.volatile)
        if unchanged(request, etag):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers={"ETag": etag})
        return Response(data, headers={"ETag": etag})


class GuardedView(ReadableView):
    """An object that somebody else may have changed: writing it takes ``If-Match``."""

    def guarded(self) -> tuple[Any, dict[str, Any]]:
        """The thing, read after its lock, and its representation. Raises PreconditionRequired and ChangedMeanwhile."""
        row = self.find(self.kwargs[self.argument])
        with connection.cursor() as cursor:  # the same that pages take, so that a form and a program take turns
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"edit {self.kind} {row.pk}"])
        row = self.find(str(row.pk))
        data = self.represent_one(row)
        precondition_require(self.request, etag=etag_of(data, self.volatile), current=data)
        return row, data


class RemovableView(GuardedView):
    """``DELETE`` one thing."""

    def remove(self, row: Any) -> None:
        """Call the service that removes it."""
        raise NotImplementedError

    def delete(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row, _ = self.guarded()
            return self.published(lambda: self.remove(row), lambda _: Response(status=status.HTTP_204_NO_CONTENT))

        return self.once(act)


class EditableView(GuardedView):
    """``PUT`` all of one thing, ``PATCH`` some of it: fields that are not given are as they were."""

    def change(self, row: Any, values: dict[str, Any]) -> Any:
        """Call the service that makes it so; returns the row that there is then."""
        raise NotImplementedError

    def put(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.once(lambda: self._edit(merge=False))

    def patch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.once(lambda: self._edit(merge=True))

    def _edit(self, *, merge: bool) -> Response:
        row, current = self.guarded()
        given = dict(self.given())
        name = self.shown_as or self.named_by
        if given.setdefault(name, current[name]) != current[name]:
            raise serializers.ValidationError({name: [f"A {self.what}'s {name} never changes: leave it out, or make a new one."]})
        values = self.validated(self.merged(current, given) if merge else given)
        return self.published(lambda: self.change(row, values), self.written)

    def merged(self, current: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """What is given over what is, object by object (RFC 7396); what cannot be written is left out of what is."""
        known = {name for name, field in self.get_serializer().fields.items() if not field.read_only}
        return merge_patch({name: value for name, value in current.items() if name in known}, given)


class ObjectView(EditableView, RemovableView):
    """All of it."""


def managed_told(touched: Iterable[Touched]) -> list[dict[str, Any]]:
    """What a write makes read otherwise than the documents that manage it, with the entry to write there."""
    return [
        {
            "document": one.thing.document,
            "kind": one.thing.kind,
            "name": one.thing.name,
            "gone": one.comparison.gone,
            "entry": one.comparison.now,
            "fields": [{"path": change.path, "document": change.before, "now": change.after} for change in one.fields],
            "next_apply": one.next_apply,
        }
        for one in touched
    ]


def merge_patch(current: Any, given: Any) -> Any:
    """RFC 7396, but null is a value: nothing here is removed by it."""
    if not isinstance(given, Mapping) or not isinstance(current, Mapping):
        return given
    return {**current, **{name: merge_patch(current.get(name), value) for name, value in given.items()}}


def previewed(preview: Preview[Any]) -> dict[str, Any]:
    """What a write would do."""
    return {
        "dry_run": True,
        "base_version": preview.base_version,
        "changes": [
            {
                "section": item.section,
                "id": item.object_id,
                "name": item.name,
                "change": item.kind,
                "fields": [{"path": change.path, "before": change.before, "after": change.after} for change in item.fields],
            }
            for item in preview.changes
        ],
        "records": [{"action": item.action, "kind": item.subject_kind, "name": item.subject_name} for item in preview.records],
    }
