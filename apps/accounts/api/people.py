"""Oneself, the organisations one belongs to, the people of each, and one's own tokens."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import GenericAPIView
from rest_framework.response import Response

from apps.accounts.api.etags import etag_of, precondition_require, unchanged
from apps.accounts.api.pagination import Pages
from apps.accounts.api.serializers import StrictSerializer
from apps.accounts.api.views import ApiView, found_or_404, uuid_of
from apps.accounts.models import Membership, Organisation, User
from apps.accounts.people import organisation_rename
from apps.accounts.selectors import permission_require
from apps.accounts.token_models import PersonalToken
from apps.accounts.tokens import token_revoke, tokens_of


class TokenSerializer(serializers.Serializer[Any]):
    """One of one's own tokens; its secret is nowhere."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    hint = serializers.CharField(help_text="The secret's last characters.")
    scopes = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    used_at = serializers.DateTimeField(allow_null=True)
    used_from = serializers.CharField()


class RoleSerializer(serializers.Serializer[Any]):
    """A role in an organisation."""

    organisation = serializers.CharField(source="organisation.slug")
    role = serializers.CharField()


class MeSerializer(serializers.Serializer[Any]):
    """Who calls, and what with."""

    id = serializers.UUIDField()
    email = serializers.CharField()
    name = serializers.CharField()
    roles = RoleSerializer(many=True)
    token = TokenSerializer(allow_null=True, help_text="The token of this call; null with a browser's session.")


class OrganisationSerializer(StrictSerializer):
    """Whose apps, keys, budgets and spend these are."""

    id = serializers.UUIDField(read_only=True)
    slug = serializers.CharField(read_only=True)
    name = serializers.CharField(max_length=200)
    simulated = serializers.BooleanField(read_only=True)
    role = serializers.CharField(read_only=True, help_text="The caller's.")
    reason = serializers.CharField(required=False, allow_blank=True, default="", write_only=True)


class PersonSerializer(serializers.Serializer[Any]):
    """Somebody who belongs to the organisation."""

    id = serializers.UUIDField(source="user.pk")
    email = serializers.CharField(source="user.email")
    name = serializers.CharField(source="user.name")
    active = serializers.BooleanField(source="user.is_active")
    role = serializers.CharField()


class MeView(ApiView):
    """Oneself."""

    @extend_schema(responses=MeSerializer)
    def get(self, request: Any) -> Response:
        person = cast(User, request.user)
        rows = person.memberships.select_related("organisation").order_by("organisation__slug")
        token = TokenSerializer(request.auth).data if isinstance(request.auth, PersonalToken) else None
        return Response(
            {
                "id": str(person.pk), "email": person.email, "name": person.name, "roles": RoleSerializer(rows, many=True).data,
                "token": token,
            }
        )  # fmt: skip


class TokensView(ApiView):
    """One's own tokens. A new one is made in the profile only: a token cannot make itself last."""

    @extend_schema(responses=TokenSerializer(many=True))
    def get(self, request: Any) -> Response:
        rows = TokenSerializer(tokens_of(cast(User, request.user)), many=True).data
        return Response({"items": rows, "next": None, "previous": None})


class TokenView(ApiView):
    """``DELETE``: revoke one of one's own tokens, also the one of this call."""

    http_method_names: ClassVar[list[str]] = ["delete", "options"]

    @extend_schema(responses={204: None})
    def delete(self, request: Any, token_id: str) -> Any:
        rows = PersonalToken.objects.filter(user=cast(User, request.user), pk=uuid_of(token_id))
        row = found_or_404(rows.first(), "token of yours", token_id)
        token_revoke(actor=self.actor, token=row, reason=self.reason)
        return Response(status=status.HTTP_204_NO_CONTENT)


class OrganisationsView(ApiView):
    """The organisations one belongs to; nobody belongs to more than one answer holds."""

    @extend_schema(responses=OrganisationSerializer(many=True))
    def get(self, request: Any) -> Response:
        person = cast(User, request.user)
        rows = person.memberships.select_related("organisation").order_by("organisation__slug")
        return Response({"items": [_shown(row.organisation, row.role) for row in rows], "next": None, "previous": None})


class OrganisationView(ApiView):
    """One organisation; ``PATCH`` renames it."""

    @extend_schema(responses=OrganisationSerializer)
    def get(self, request: Any, organisation: str) -> Response:
        data = self._data()
        etag = etag_of(data)
        return Response(status=304, headers={"ETag": etag}) if unchanged(request, etag) else Response(data, headers={"ETag": etag})

    @extend_schema(request=OrganisationSerializer, responses=OrganisationSerializer)
    def patch(self, request: Any, organisation: str) -> Any:
        def act() -> Response:
            permission_require(actor=self.actor, action="organisation.change", organisation=self.organisation)
            self.organisation = Organisation.objects.select_for_update().get(pk=self.organisation.pk)
            current = self._data()
            precondition_require(request, etag=etag_of(current), current=current)
            asked = OrganisationSerializer(data=self.given())
            asked.is_valid(raise_exception=True)
            self.organisation = organisation_rename(actor=self.actor, organisation=self.organisation, name=asked.validated_data["name"])
            data = self._data()
            return Response(data, headers={"ETag": etag_of(data)})

        return self.once(act)

    def _data(self) -> dict[str, Any]:
        row = Membership.objects.filter(user_id=self.request.user.pk, organisation=self.organisation).values_list("role", flat=True).first()
        return _shown(self.organisation, row or "")


class PeopleView(ApiView, GenericAPIView):  # type: ignore[type-arg]
    """Who belongs to an organisation, with which role."""

    permission = "user.view"
    serializer_class = PersonSerializer
    pagination_class = Pages
    ordering: ClassVar[tuple[str, ...]] = ("user__email",)

    def get(self, request: Any, organisation: str) -> Response:
        rows = Membership.objects.filter(organisation=self.organisation).select_related("user")
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(PersonSerializer(page, many=True).data)


def _shown(organisation: Organisation, role: str) -> dict[str, Any]:
    return {
        "id": str(organisation.pk), "slug": organisation.slug, "name": organisation.name, "simulated": organisation.simulated, "role": role,
    }  # fmt: skip
