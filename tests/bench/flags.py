"""What flags cost: one evaluation of ordinary rules, and the plan of a request on routes with and without them.

``python -m tests.bench.flags`` prints microseconds, the best of five rounds each, and whether the hot path ran compiled. Run it from
another checkout to compare: it uses nothing that came with flags where there is nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from apps.proxy.compiled import in_use, install

ROUNDS, TIMES = 5, 40_000


def best(work: Callable[[], Any]) -> float:
    """Microseconds of one call."""
    found = float("inf")
    for _ in range(ROUNDS):
        started = perf_counter()
        for _ in range(TIMES):
            work()
        found = min(found, perf_counter() - started)
    return found / TIMES * 1e6


def rules() -> None:
    from apps.contracts.flag_buckets import murmur3
    from apps.contracts.flag_rules import compile_rules

    def constraint(field: str, operator: str, **given: Any) -> dict[str, Any]:
        return {"contextName": field, "operator": operator, **given}

    context = {"userId": "user-12345", "environment": "production", "team": "search", "version": "1.4.2"}
    one = constraint("team", "IN", values=["search", "ads"])
    two = constraint("environment", "NOT_IN", values=["staging"])
    rollout = {"name": "flexibleRollout", "parameters": {"rollout": "50", "stickiness": "userId", "groupId": "g"}}
    for name, strategies in {
        "one list": [{"name": "default", "constraints": [one]}],
        "two lists": [{"name": "default", "constraints": [one, two]}],
        "userWithId": [{"name": "userWithId", "parameters": {"userIds": "user-1,user-12345"}}],
        "text": [{"name": "default", "constraints": [constraint("userId", "STR_STARTS_WITH", values=["admin-", "user-"])]}],
        "number": [{"name": "default", "constraints": [constraint("version", "SEMVER_GTE", value="1.2.0")]}],
        "rollout, users that come again": [rollout],
        "rollout and two lists": [{**rollout, "constraints": [one, two]}],
    }.items():
        compiled = compile_rules({"strategies": strategies}, name=name)
        print(f"  {name:<34} {best(lambda compiled=compiled: compiled.enabled(context)):6.2f} us")  # type: ignore[misc]
    compiled = compile_rules({"strategies": [rollout]}, name="new")
    users = iter(range(10**9))
    print(f"  {'rollout, a new user each time':<34} {best(lambda: compiled.enabled({'userId': f'user-{next(users)}'})):6.2f} us")
    print(f"  {'share of a drill':<34} {best(lambda: murmur3(b'0123456789abcdef', 7)):6.2f} us")


def plans(*, flagged: bool) -> None:
    from apps.contracts.snapshot import FlagFragment
    from apps.proxy.steps.plan import plan
    from tests.proxy.choosing import EAST, WEST
    from tests.proxy.fragments import ORG
    from tests.proxy.test_relief import Spent

    def show(name: str, *flags: FlagFragment) -> None:
        world = Spent(EAST, WEST, used={}, more=list(flags), fallback=[WEST])
        exchange = world.exchange()
        exchange.requested_model = "chat"
        exchange.engine = world.engine
        print(f"  {name:<34} {best(lambda: plan(exchange, world.runtime)):6.2f} us")

    def flag(subject: Any, subject_id: str, **more: Any) -> FlagFragment:
        return FlagFragment(
            id="f", name="f", organisation=ORG, kind="kill" if subject != "team" else "degrade", subject=subject,
            subject_id=subject_id, on=True, **more,
        )  # fmt: skip

    show("no flag")
    if flagged:
        rules = {"strategies": [{"name": "default", "constraints": [{"contextName": "team", "operator": "IN", "values": ["x"]}]}]}
        show("a flag on another route", flag("route", "r-2", rules=rules))
        show("a kill of one of its providers", flag("provider", "p-east"))
        show("a feature's kill, of another", flag("feature", "search"))
        show("a kill with a rule that is false", flag("route", "r-1", rules=rules))
        show("a drill of one percent", flag("route", "r-1", share=1))


def main() -> None:
    compiled = install()
    print(f"hot path: {'compiled' if compiled and in_use() else 'interpreted'}")
    try:
        print("rules")
        rules()
    except ImportError:
        print("  none here")
        print("plan")
        plans(flagged=False)
        return
    print("plan")
    if compiled:
        print("  interpreted only: set BULKHEAD_COMPILED=off")  # it is asked with stand-ins that compiled code does not take
    else:
        plans(flagged=True)


if __name__ == "__main__":
    main()
