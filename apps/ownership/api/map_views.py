"""``regions`` and ``layers`` of an organisation, and which team owns where they meet."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.api.serializers import ReasonSerializer, StrictSerializer
from apps.accounts.api.views import found_or_404
from apps.audit.errors import ServiceError
from apps.ownership.map_services import cell_set, layer_delete, layer_set, region_delete, region_set
from apps.ownership.models import Cell, Layer, Region
from apps.ownership.named import team_named
from apps.ownership.selectors import cell_owner
from apps.publishing.api.resources import CreatableView, ObjectView, Resource


class CellSerializer(StrictSerializer):
    """The team that owns a layer in a region."""

    layer = serializers.CharField(max_length=60)
    team = serializers.CharField(max_length=60, help_text="A team's slug.")


class RegionSerializer(ReasonSerializer):
    """A row of the ownership map, with who owns each layer there; layers that are not named are nobody's."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=100)
    title = serializers.CharField(max_length=200, allow_blank=True, default="")
    owners = CellSerializer(many=True, default=list)

    def to_representation(self, instance: Region) -> dict[str, Any]:
        cells = sorted(instance.cells.all(), key=lambda cell: (cell.layer.position, cell.layer.name))
        owners = [{"layer": cell.layer.name, "team": cell.team.slug} for cell in cells]
        return {"id": str(instance.pk), "name": instance.name, "title": instance.title, "owners": owners}


class LayerSerializer(ReasonSerializer):
    """A column of the ownership map."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=60)
    title = serializers.CharField(max_length=200, allow_blank=True, default="")
    help = serializers.CharField(max_length=300, allow_blank=True, default="")
    position = serializers.IntegerField(default=0)


class RegionResource(Resource):
    permission: ClassVar[str] = "ownership.view"
    serializer_class = RegionSerializer
    kind, object_name, argument = "region", "region", "region_id"

    def rows(self) -> QuerySet[Region]:
        rows = Region.objects.filter(organisation=self.organisation).select_related("organisation")
        return rows.prefetch_related(Prefetch("cells", Cell.objects.select_related("layer", "team")))

    def saved(self, values: dict[str, Any]) -> Region:
        """Make the region and its owners what is asked."""
        given: dict[str, Any] = {"actor": self.actor, "organisation": self.organisation, "reason": self.reason}
        region = region_set(**given, name=values["name"], title=values["title"])
        wanted = {cell["layer"]: (at, cell["team"]) for at, cell in enumerate(values["owners"])}
        if len(wanted) != len(values["owners"]):
            raise ServiceError("one team owns a layer of a region: name each layer once", "owners")
        for layer in region.cells.exclude(layer__name__in=wanted).values_list("layer__name", flat=True):
            cell_set(**given, region=region.name, layer=layer, team=None)
        for layer, (at, slug) in wanted.items():
            team = team_named(self.organisation, slug, field=f"owners[{at}].team")
            try:
                cell_set(**given, region=region.name, layer=layer, team=team)
            except ServiceError as error:
                if error.field is None:
                    raise
                raise ServiceError(error.message, f"owners[{at}].{error.field}") from None
        return region


class RegionsView(RegionResource, CreatableView):
    """Regions of an organisation's map."""

    def create(self, values: dict[str, Any]) -> Region:
        if self.rows().filter(name=values["name"]).exists():
            raise ServiceError(f"there is a region {values['name']!r} already: edit that one, or choose another name", "name")
        return self.saved(values)


class RegionView(RegionResource, ObjectView):
    """One region, with who owns each layer there."""

    def change(self, row: Region, values: dict[str, Any]) -> Region:
        return self.saved(values)

    def remove(self, row: Region) -> None:
        region_delete(actor=self.actor, region=row, reason=self.reason)


class LayerResource(Resource):
    permission: ClassVar[str] = "ownership.view"
    serializer_class = LayerSerializer
    kind, object_name, argument = "layer", "layer", "layer_id"

    def rows(self) -> QuerySet[Layer]:
        return Layer.objects.filter(organisation=self.organisation).select_related("organisation")

    def saved(self, values: dict[str, Any]) -> Layer:
        """Call the service with what the serializer read."""
        return layer_set(actor=self.actor, organisation=self.organisation, reason=self.reason, **values)


class LayersView(LayerResource, CreatableView):
    """Layers of an organisation's map."""

    def create(self, values: dict[str, Any]) -> Layer:
        if self.rows().filter(name=values["name"]).exists():
            raise ServiceError(f"there is a layer {values['name']!r} already: edit that one, or choose another name", "name")
        return self.saved(values)


class LayerView(LayerResource, ObjectView):
    """One layer."""

    def change(self, row: Layer, values: dict[str, Any]) -> Layer:
        return self.saved(values)

    def remove(self, row: Layer) -> None:
        layer_delete(actor=self.actor, layer=row, reason=self.reason)


class OwnerGivenSerializer(ReasonSerializer):
    """Who shall own a layer in a region."""

    team = serializers.CharField(max_length=60, allow_blank=True, help_text="A team's slug; empty: nobody.")


class OwnerSerializer(serializers.Serializer[Any]):
    """Who answers for a cell of the map."""

    region = serializers.CharField()
    layer = serializers.CharField()
    team = serializers.CharField(help_text="The team's slug; empty: nobody.")


class CellView(RegionResource):
    """The team that owns a region and layer; 404 where nobody does. ``POST`` gives it to a team, or to nobody."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post", "options"]

    @extend_schema(responses=OwnerSerializer)
    def get(self, request: Any, organisation: str, region: str, layer: str) -> Response:
        team = cell_owner(organisation=self.organisation, region=region, layer=layer)
        return Response({"region": region, "layer": layer, "team": found_or_404(team, "owner of", f"{region} x {layer}").slug})

    @extend_schema(request=OwnerGivenSerializer, responses=OwnerSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            asked = OwnerGivenSerializer(data=self.given())
            asked.is_valid(raise_exception=True)
            slug, region, layer = asked.validated_data["team"], self.kwargs["region"], self.kwargs["layer"]
            team = team_named(self.organisation, slug) if slug else None

            def change() -> Any:
                return cell_set(actor=self.actor, organisation=self.organisation, region=region, layer=layer, team=team, reason=self.reason)

            return self.published(change, lambda cell: Response({"region": region, "layer": layer, "team": cell.team.slug if cell else ""}))

        return self.once(act)
