"""``docs/config.md`` explains every field there is, and no other; its example applies."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from django.core.management import call_command

from apps.accounts.models import Organisation
from apps.alerts.series import SERIES
from controlplane.configfile.document import STRUCTS, Document

MANUAL = (Path(__file__).parents[2] / "docs" / "config.md").read_text(encoding="utf-8")
SECTIONS = (
    "## The document",
    "### `teams`",
    "### `teams[].contacts`",
    "### `teams[].sla`",
    "### `teams[].services`",
    "### `layers`",
    "### `regions`",
    "### `regions[].owners`",
    "### `rotations`",
    "### `runbooks`",
    "### `credentials`",
    "### `providers`",
    "### `providers[].endpoints`",
    "### `providers[].endpoints[].credentials`",
    "### `providers[].prices`",
    "### `providers[].prices[].tiers`",
    "### `providers[].prices[].off_peak`",
    "### `providers[].priced_like`",
    "### `providers[].models`",
    "### `discounts`",
    "### `unit_prices`",
    "### `gpu_prices`",
    "### `deployments`",
    "### `routes`",
    "### `routes[].targets`",
    "### `routes[].deadlines`",
    "### `routes[].resilience`",
    "### `routes[].resilience.breaker`",
    "### `routes[].resilience.mirror`",
    "### `keys`",
    "### `key_templates`",
    "### `budgets`",
    "### `limits`",
    "### `performance_budgets`",
    "### `flags`",
    "### `two_person_rules`",
    "### `schedules`",
    "### `alert_rules`",
    "### `slos`",
    "### `alert_channels`",
    "### `notification_policies`",
    "### `captures`",
    "### `redactions`",
    "### `saved_views`",
)


def documented(heading: str) -> list[str]:
    """Fields of the table under a heading, in order."""
    assert f"\n{heading}\n" in MANUAL, f"docs/config.md has no section {heading!r}"
    body = re.split(r"\n##+ ", MANUAL.split(f"\n{heading}\n", 1)[1], maxsplit=1)[0]
    return re.findall(r"^\| `([a-z_]+)` \| \S", body, flags=re.MULTILINE)


@pytest.mark.parametrize(("struct", "heading"), list(zip(STRUCTS, SECTIONS, strict=True)), ids=SECTIONS)
def test_every_field_is_explained(struct: type[msgspec.Struct], heading: str) -> None:
    fields = [field.name for field in msgspec.structs.fields(struct)]
    assert sorted(documented(heading)) == sorted(fields)


def test_the_walk_reaches_every_type() -> None:
    """A type that is used by a field is one of STRUCTS: a new one cannot stay unexplained."""
    seen: set[type] = set()
    waiting: list[object] = [msgspec.inspect.type_info(Document)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, msgspec.inspect.StructType):
            if node.cls not in seen:
                seen.add(node.cls)
                waiting += [field.type for field in node.fields]
        elif isinstance(node, msgspec.inspect.ListType):
            waiting.append(node.item_type)
        elif isinstance(node, msgspec.inspect.UnionType):
            waiting += node.types
    assert seen == set(STRUCTS)


def test_the_example_applies(organisation: Organisation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-example-0123456789")
    (example,) = re.findall(r"^```yaml\n(.*?)^```", MANUAL, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "bulkhead.yaml"
    path.write_text(example, encoding="utf-8")
    for expected in ("published v1", "nothing changes"):
        out = StringIO()
        call_command("apply", "-f", str(path), stdout=out)
        assert expected in out.getvalue()
    out = StringIO()
    call_command("export", stdout=out)
    path.write_text(out.getvalue(), encoding="utf-8")
    out = StringIO()
    call_command("apply", "-f", str(path), stdout=out)
    assert out.getvalue() == "nothing changes\n"


def test_every_series_that_a_rule_may_name_is_listed() -> None:
    listed = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    assert [name for name, series in SERIES.items() if series.source != "slo" and f"`{name}`" not in listed] == []
