"""The ownership map as its page shows it: regions down, layers across, the team of each cell."""

from __future__ import annotations

from dataclasses import dataclass

from apps.accounts.models import Organisation
from apps.ownership.models import Cell, Layer, Region, Team
from apps.ownership.owned import regions_in_use


@dataclass(frozen=True, slots=True)
class MapCell:
    """One cell. key: how a form names it; team: None where nobody answers."""

    region: str
    layer: Layer
    team: Team | None

    @property
    def key(self) -> str:
        """``cell:<layer>:<region>``."""
        return f"cell:{self.layer.name}:{self.region}"


@dataclass(frozen=True, slots=True)
class MapRow:
    """One region. declared: somebody put it on the map, then it has an id; in_use: endpoints run in it."""

    name: str
    title: str
    declared: bool
    in_use: bool
    cells: tuple[MapCell, ...]
    id: str = ""


@dataclass(frozen=True, slots=True)
class OwnershipMap:
    """The whole map."""

    layers: tuple[Layer, ...]
    rows: tuple[MapRow, ...]

    @property
    def total(self) -> int:
        """Cells there are."""
        return len(self.layers) * len(self.rows)

    @property
    def unowned(self) -> int:
        """Cells that nobody answers for."""
        return sum(cell.team is None for row in self.rows for cell in row.cells)


def ownership_map(organisation: Organisation) -> OwnershipMap:
    """Every declared region and every one that endpoints run in, by name: four queries."""
    layers = tuple(Layer.objects.filter(organisation=organisation))
    declared = {region.name: region for region in Region.objects.filter(organisation=organisation)}
    used = regions_in_use(organisation)
    cells = Cell.objects.filter(layer__organisation=organisation).select_related("team", "region")
    owners = {(cell.region.name, cell.layer_id): cell.team for cell in cells}
    rows = tuple(
        MapRow(
            name=name,
            title=declared[name].title if name in declared else "",
            declared=name in declared,
            in_use=name in used,
            cells=tuple(MapCell(name, layer, owners.get((name, layer.pk))) for layer in layers),
            id=str(declared[name].pk) if name in declared else "",
        )
        for name in sorted(declared.keys() | used)
    )
    return OwnershipMap(layers, rows)
