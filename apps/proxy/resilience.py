"""A route's resilience, checked and in the units that requests use: seconds and shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from apps.contracts.model_facts import CAPABILITIES
from apps.contracts.snapshot import Deadlines, Level, ModelFragment, Resilience, RouteFragment, Strategy, Target

if TYPE_CHECKING:
    from apps.proxy.runtime import CompiledTarget

_STICKY = ("", "user", "session", "key")
_RESCUE = ("off", "same_model", "any")
_CONTEXT = ("off", "larger", "trim", "refuse")


class CompileError(ValueError):
    """A config that cannot be served: names the section, the object's id, the field, and what to do."""

    def __init__(self, section: str, id: str, field: str, message: str) -> None:
        super().__init__(f"{section} {id}: {field}: {message}")
        self.section = section
        self.id = id
        self.field = field
        self.message = message


class CompiledResilience:
    """As ``apps.contracts.snapshot.Resilience``; durations in seconds, shares from 0 to 1.

    first_token: until real output shows; the route's first_byte where config says 0. hedge_after: 0.0: the target's own p95.
    retry_budget_percent, max_concurrency, queue_size: as they are. mirror: where copies go, None for nowhere.
    """

    __slots__ = (
        "breaker",
        "canned",
        "context",
        "first_token",
        "hedge_after",
        "hedge_share",
        "level",
        "limited_max_output",
        "max_concurrency",
        "mirror",
        "mirror_share",
        "queue",
        "queue_size",
        "reasoning_first_byte",
        "region",
        "rescue",
        "retry_budget_percent",
        "sticky",
        "strategy",
    )

    def __init__(self, settings: Resilience, deadlines: Deadlines, mirror: CompiledTarget | None) -> None:
        self.strategy = settings.strategy
        self.region = settings.region
        self.sticky = settings.sticky
        self.first_token = (settings.first_token_ms or deadlines.first_byte_ms) / 1000
        self.reasoning_first_byte = settings.reasoning_first_byte_ms / 1000
        self.retry_budget_percent = settings.retry_budget_percent
        self.max_concurrency = settings.max_concurrency
        self.queue_size = settings.queue_size
        self.queue = settings.queue_ms / 1000
        self.hedge_share = settings.hedge_percent / 100
        self.hedge_after = settings.hedge_after_ms / 1000
        self.rescue = settings.rescue
        self.context = settings.context
        self.level = settings.level
        self.limited_max_output = settings.limited_max_output
        self.canned = settings.canned
        self.breaker = settings.breaker
        self.mirror = mirror
        self.mirror_share = settings.mirror.percent / 100 if settings.mirror is not None else 0.0


def check_target(route: RouteFragment, field: str, target: Target) -> None:
    """Options of one target by themselves. Raises CompileError."""
    for name, what in (
        ("weight", "a share"),
        ("window", "tokens"),
        ("max_concurrency", "requests at once"),
        *((name, "milliseconds, 0: as the route") for name in ("connect_ms", "first_byte_ms", "first_token_ms", "idle_ms", "total_ms")),
    ):
        value: int = getattr(target, name)
        if value < 0:
            raise CompileError("routes", route.id, f"{field}.{name}", f"is {value}: write 0 or more ({what})")
    unknown = [name for name in target.capabilities or () if name not in CAPABILITIES]
    if unknown:
        message = f"{unknown[0]!r} is unknown: write some of {', '.join(CAPABILITIES)}, or leave the field out where they are not known"
        raise CompileError("routes", route.id, f"{field}.capabilities", message)


def check_facts(model: ModelFragment) -> None:
    """What is known of a model, where it is published; a proxy takes what it does not know for unknown. Raises CompileError."""
    for name in ("known", "own"):
        facts = getattr(model, name)
        for number in ("window", "max_output"):
            if getattr(facts, number) < 0:
                raise CompileError("models", model.id, f"{name}.{number}", f"is {getattr(facts, number)}: write 0 or more (tokens)")
        wrong = [word for word in (*facts.can, *facts.cannot) if word not in CAPABILITIES]
        if wrong:
            message = f"{wrong[0]!r} is unknown: write some of {', '.join(CAPABILITIES)}"
            raise CompileError("models", model.id, f"{name}.can", message)


def check_resilience(route: RouteFragment) -> None:
    """What can be said without looking at providers. Raises CompileError."""
    settings, breaker = route.resilience, route.resilience.breaker
    for name, known in (
        ("strategy", get_args(Strategy)),
        ("sticky", _STICKY),
        ("rescue", _RESCUE),
        ("context", _CONTEXT),
        ("level", get_args(Level)),
    ):
        if getattr(settings, name) not in known:
            shown = ", ".join(repr(value) for value in known)
            raise CompileError("routes", route.id, f"resilience.{name}", f"{getattr(settings, name)!r} is unknown: one of {shown}")
    for name in ("retry_budget_percent", "hedge_percent"):
        _percent(route, f"resilience.{name}", getattr(settings, name))
    if settings.mirror is not None:
        _percent(route, "resilience.mirror.percent", settings.mirror.percent)
    _percent(route, "resilience.breaker.failure_percent", breaker.failure_percent)
    for name in ("first_token_ms", "max_concurrency", "queue_size", "queue_ms", "hedge_after_ms"):
        _least(route, f"resilience.{name}", getattr(settings, name), 0)
    for name in ("reasoning_first_byte_ms", "limited_max_output"):
        _least(route, f"resilience.{name}", getattr(settings, name), 1)
    _least(route, "resilience.breaker.consecutive", breaker.consecutive, 0)
    for name in ("minimum", "window_ms", "open_ms"):
        _least(route, f"resilience.breaker.{name}", getattr(breaker, name), 1)
    if settings.strategy == "region" and not settings.region:
        raise CompileError("routes", route.id, "resilience.region", "the strategy 'region' needs the route's home region: name one")
    if settings.strategy == "weighted":
        _check_weights(route)


def _check_weights(route: RouteFragment) -> None:
    for chain in ("targets", "fallback"):
        targets: list[Target] = getattr(route, chain)
        if targets and all(target.weight == 0 for target in targets):
            raise CompileError("routes", route.id, chain, "every weight is 0: the strategy 'weighted' needs one target with a share")
        seen: set[tuple[str, str, str, str]] = set()
        for at, target in enumerate(targets):
            name = (target.provider, target.endpoint, target.model, target.variant)
            if name in seen:
                message = "is listed twice: give it one entry with both weights added, or different variants"
                raise CompileError("routes", route.id, f"{chain}[{at}]", message)
            seen.add(name)


def _percent(route: RouteFragment, field: str, value: int) -> None:
    if not 0 <= value <= 100:
        raise CompileError("routes", route.id, field, f"is {value}: write a share of 0 to 100 percent")


def _least(route: RouteFragment, field: str, value: int, least: int) -> None:
    if value < least:
        raise CompileError("routes", route.id, field, f"is {value}: write {least} or more")
