"""Resilience, options of targets and priorities of keys in a document: applied, exported, applied again, refused with their line."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Organisation
from apps.contracts.snapshot import BreakerPolicy, KeyFragment, Mirror, Resilience, Target, decode_fragment
from apps.keys.models import VirtualKey
from apps.publishing.models import FragmentRow
from apps.routes import selectors
from apps.routes.models import Route
from apps.routes.rules import TargetSpec

DOCUMENT = """
organisation: main
providers:
  - name: near
    allow_private_addresses: true
    endpoints:
      - {base_url: "http://127.0.0.1:8000/v1", region: eu}
routes:
  - name: gpt-4*
    targets:
      - {provider: near, model: m, weight: 90, window: 128000, max_concurrency: 16, prefill: true, capabilities: [tools, images]}
      - {provider: near, model: m, weight: 10, variant: canary, capabilities: [], reasoning: true, expensive: yes, priority: 1,
         total: 20s, idle: 1.5s}
    resilience:
      strategy: weighted
      sticky: user
      queue: 500ms
      hedge_percent: 5
      hedge_after: 1.5s
      rescue: off
      canned: Back in a minute.
      breaker: {consecutive: 3, open: 4s}
      mirror: {target: {provider: near, model: shadow}, percent: 10}
keys:
  - {name: app, priority: high, explain: true}
"""
CHOSEN = Resilience(
    strategy="weighted",
    sticky="user",
    queue_ms=500,
    hedge_percent=5,
    hedge_after_ms=1_500,
    rescue="off",
    canned="Back in a minute.",
    breaker=BreakerPolicy(consecutive=3, open_ms=4_000),
    mirror=Mirror(target=Target(provider="near", model="shadow"), percent=10),
)


def apply(folder: Path, text: str, *arguments: str) -> str:
    path, out = folder / "bulkhead.yaml", StringIO()
    path.write_text(text, encoding="utf-8")
    call_command("apply", "-f", str(path), *arguments, stdout=out)
    return out.getvalue()


def test_applied_once_exported_and_the_same_again(organisation: Organisation, tmp_path: Path) -> None:
    assert "published v1" in apply(tmp_path, DOCUMENT)
    route = selectors.route_named(organisation, "gpt-4*")
    assert selectors.resilience(route) == CHOSEN
    assert selectors.target_specs(route) == [
        TargetSpec("near", "m", weight=90, window=128_000, max_concurrency=16, prefill=True, capabilities=("tools", "images")),
        TargetSpec(
            "near",
            "m",
            weight=10,
            variant="canary",
            capabilities=(),
            reasoning=True,
            expensive=True,
            priority=1,
            total_ms=20_000,
            idle_ms=1_500,
        ),
    ]
    key = VirtualKey.objects.get()
    assert (key.priority, key.explain) == ("high", True)
    shipped = decode_fragment("keys", bytes(FragmentRow.objects.get(section="keys").body))
    assert isinstance(shipped, KeyFragment) and shipped.priority == "high" and shipped.explain
    assert apply(tmp_path, DOCUMENT) == "nothing changes\n"
    out = StringIO()
    call_command("export", stdout=out)
    assert apply(tmp_path, out.getvalue()) == "nothing changes\n"


def test_the_diff_says_what_changes_and_what_is_left_out_is_the_default(organisation: Organisation, tmp_path: Path) -> None:
    apply(tmp_path, DOCUMENT)
    changed = DOCUMENT.replace("hedge_percent: 5", "hedge_percent: 6").replace("weight: 10", "weight: 20").replace("open: 4s", "open: 5s")
    diff = apply(tmp_path, changed, "--dry-run")
    assert "~ resilience.hedge_percent: 5 -> 6" in diff and "~ resilience.breaker.open: 4s -> 5s" in diff
    options = "priority 1; reasoning; expensive; variant canary; capabilities none; idle 1500ms; total 20s"
    assert f"near/m (weight 10; {options}) -> near/m (weight 20;" in diff
    head, _, rest = DOCUMENT.partition("    resilience:")
    apply(tmp_path, head + "keys:" + rest.partition("keys:")[2])
    assert Route.objects.get().resilience == {}


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("hedge_percent: 5", "hedge_percent: 101", "routes[0].resilience.hedge_percent"),
        ("queue: 500ms", "queue: 500", "routes[0].resilience.queue"),
        ("queue: 500ms", "queue: 25h", "routes[0].resilience.queue"),
        ("open: 4s", "open: 0s", "routes[0].resilience.breaker.open"),
        ("strategy: weighted", "strategy: {a: 1}", "routes[0].resilience.strategy"),
        ("strategy: weighted", "strategy: region\n      region: mars", "routes[0].resilience.region"),
        ("model: shadow", "model: m", "routes[0].resilience.mirror.target"),
        ("provider: near, model: shadow", "provider: gone, model: shadow", "routes[0].resilience.mirror.target.provider"),
        ("weight: 90", "weight: heavy", "routes[0].targets[0].weight"),
        ("[tools, images]", "[song]", "routes[0].targets[0].capabilities[0]"),
        ("variant: canary", "variant: a b", "routes[0].targets[1].variant"),
        ("total: 20s", "total: 20", "routes[0].targets[1].total"),
        ("total: 20s", "total: 2h", "routes[0].targets[1].total"),
        ("priority: high", "priority: highest", "keys[0].priority"),
        ("gpt-4*", "gpt-*-4", "routes[0].name"),
    ],
)
def test_problems_name_their_field(organisation: Organisation, tmp_path: Path, old: str, new: str, field: str) -> None:
    assert old in DOCUMENT
    with pytest.raises(CommandError) as caught:
        apply(tmp_path, DOCUMENT.replace(old, new))
    assert f"{field}:" in str(caught.value), str(caught.value)
    assert not Route.objects.exists()
