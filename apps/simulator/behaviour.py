"""How a simulated provider behaves, as one JSON document: the scenario file, and the body of ``/sim/control``.

``{"server": {...}, "models": {"<model>": {...}}, "prices": {...}, ...}``: a model's fields override the server's; what
neither sets has the default written here. Everything drawn by chance comes from one generator per model, seeded with
the seed and the model's name, so that a run repeats exactly for requests in the same order.
"""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec

from apps.simulator.faults import MODEL_PREFIX, OK, Fault, FaultError, Script, parse_fault, parse_script

_Z95 = 1.6448536269514722  # the standard normal's 95th percentile


class ScenarioError(ValueError):
    """A scenario that cannot be used; the message names the field and says what it should be."""


class Fixed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="fixed", tag_field="kind"):
    """Always this value."""

    value: float

    def __post_init__(self) -> None:
        if not 0 <= self.value < 1e9:
            raise ValueError("value must be from 0 to a billion")

    def draw(self, rng: random.Random) -> float:
        return self.value


class Lognormal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="lognormal", tag_field="kind"):
    """Lognormal by its median and its 95th percentile."""

    median: float
    p95: float

    def __post_init__(self) -> None:
        if not 0 < self.median <= self.p95 < 1e9:
            raise ValueError("0 < median <= p95 must hold")

    def draw(self, rng: random.Random) -> float:
        return self.median * math.exp(rng.gauss(0.0, 1.0) * math.log(self.p95 / self.median) / _Z95)


Distribution = Fixed | Lognormal


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part of the error mix: this share (0..1) of the requests meets this fault."""

    share: float
    fault: str | Fault


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One server's or one model's behaviour.

    first_byte_ms: delay before the headers. tokens_per_second: generation speed, 0 for at once; a JSON answer takes
    the time its tokens take. tokens_per_event: tokens in one event of a stream. output_tokens: length of an answer
    whose request asks for none. errors: the error mix. faults: steps consumed one per request, before the error mix.
    embedding_dimensions: of vectors whose request names none. calls_tools: calls the first tool that it is offered, until a result
    came back; otherwise it calls what it is made to call. continues: goes on from a last assistant message, and repeats an answer's
    last words when it is asked to; otherwise that is one message more, and the answer begins anew.
    """

    first_byte_ms: Distribution = Fixed(0)
    tokens_per_second: float = 0.0
    tokens_per_event: int = 1
    output_tokens: Distribution = Fixed(16)
    errors: list[Share] = []
    faults: list[str | Fault] = []
    embedding_dimensions: int = 64
    continues: bool = True
    calls_tools: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.tokens_per_second < 1e9:
            raise ValueError("tokens_per_second must be from 0 (at once) to a billion")
        if not 1 <= self.tokens_per_event <= 4096:
            raise ValueError("tokens_per_event must be from 1 to 4096")
        if not 1 <= self.embedding_dimensions <= 8192:
            raise ValueError("embedding_dimensions must be from 1 to 8192")
        if any(not 0 <= part.share <= 1 for part in self.errors) or sum(part.share for part in self.errors) > 1 + 1e-9:
            raise ValueError("the shares of errors must be from 0 to 1 and add up to at most 1")


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nano-dollars per million tokens."""

    input: int
    output: int = 0

    def __post_init__(self) -> None:
        if self.input < 0 or self.output < 0:
            raise ValueError("prices must not be negative")


DEFAULT_PRICE = Price(input=150_000_000, output=600_000_000)
"""$0.15 and $0.60 per million tokens, for models without a price of their own."""


class Scenario(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The whole document.

    models: overrides by model name. prices: by model name; ``*`` for all others. api_keys: keys and tokens that are let in,
    null for all; ``ACCESS:SECRET`` for signed requests. region: that signatures and addresses must name, empty for any. served: names
    that the lists of models have. only_served: refuse other models with 404.
    reset_connections: so many further connections are reset as soon as they are made. down: the error status that every
    call and list answers with, 0 for none.
    """

    server: dict[str, Any] = {}
    models: dict[str, dict[str, Any] | None] = {}
    prices: dict[str, Price] = {}
    api_keys: list[str] | None = None
    region: str = ""
    served: list[str] = msgspec.field(default_factory=lambda: ["sim-chat", "sim-embed"])
    only_served: bool = False
    reset_connections: int = 0
    down: int = 0


class Control:
    """The scenario in force; changed at run time, read once per request."""

    def __init__(self, *, seed: int, scenario: bytes | None = None) -> None:
        self.seed = seed
        self.scenario = Scenario()
        self._server = Resolved(Behaviour(), random.Random(f"{seed}/"))
        self._resolved: dict[str, Resolved] = {}
        if scenario is not None:
            self.update(scenario)

    def update(self, document: bytes) -> None:
        """Replace what the document names: ``server`` and the other top-level fields whole, ``models`` one by one
        (null forgets a model's overrides). Nothing changes when anything is wrong. Raises ScenarioError."""
        try:
            fields = msgspec.json.decode(document)
            if not isinstance(fields, dict):
                raise ScenarioError("a scenario is a JSON object: {'server': {...}, 'models': {...}}")
            change = msgspec.convert(fields, Scenario)
            merged = {name: getattr(change if name in fields else self.scenario, name) for name in Scenario.__struct_fields__}
            models: dict[str, dict[str, Any] | None] = {**self.scenario.models, **change.models}
            merged["models"] = {name: override for name, override in models.items() if override is not None}
            scenario = Scenario(**merged)
            _behaviour(scenario.server, {}, "server")
            for name, override in scenario.models.items():
                _behaviour(scenario.server, override or {}, f"models.{name}")
        except (msgspec.DecodeError, FaultError) as error:
            raise ScenarioError(str(error)) from None
        if scenario.reset_connections < 0:
            raise ScenarioError("reset_connections must not be negative")
        if scenario.down and not 400 <= scenario.down <= 599:
            raise ScenarioError("down must be 0, or an error status from 400 to 599")
        self.scenario = scenario
        self.restart()

    def restart(self) -> None:
        """Begin all scripts and all chance anew."""
        self._resolved.clear()
        self._server = Resolved(_behaviour(self.scenario.server, {}, "server"), random.Random(f"{self.seed}/"))

    def of(self, model: str) -> Resolved:
        """The behaviour of one model. Raises FaultError for a ``sim-fault/`` name that cannot be read."""
        found = self._resolved.get(model)
        if found is None:
            if len(self._resolved) > 100_000:
                self._resolved.clear()  # names come from clients: bounded, at the price of scripts that begin anew
            override = self.scenario.models.get(model) or {}
            found = Resolved(_behaviour(self.scenario.server, override, f"models.{model}"), random.Random(f"{self.seed}/{model}"))
            if "faults" not in override:
                found.script = self._server.script  # the server's script is consumed by all of its models together
            if model.startswith(MODEL_PREFIX):
                found.script = Script(parse_script(model.removeprefix(MODEL_PREFIX).partition("#")[0]))
            self._resolved[model] = found
        return found

    def price_of(self, model: str) -> Price:
        prices = self.scenario.prices
        return prices.get(model) or prices.get("*") or DEFAULT_PRICE


def _behaviour(server: dict[str, Any], override: dict[str, Any], path: str) -> Behaviour:
    try:
        behaviour = msgspec.convert({**server, **override}, Behaviour)
        for step in behaviour.faults:
            _ = parse_script(step) if isinstance(step, str) else step
        for part in behaviour.errors:
            _ = parse_fault(part.fault) if isinstance(part.fault, str) else part.fault
    except (msgspec.ValidationError, FaultError) as error:
        raise ScenarioError(f"{path}: {error}") from None
    return behaviour


class Resolved:
    """A model's behaviour with its script and its generator."""

    __slots__ = ("_mix", "behaviour", "rng", "script")

    def __init__(self, behaviour: Behaviour, rng: random.Random) -> None:
        self.behaviour = behaviour
        self.rng = rng
        steps: list[Fault] = []
        for step in behaviour.faults:
            parsed = parse_script(step) if isinstance(step, str) else [step]
            # in a list every entry is for one request unless it says how many
            steps += [part if part.times else msgspec.structs.replace(part, times=1) for part in parsed]
        self.script = Script(steps)
        self._mix = [(part.share, parse_fault(part.fault) if isinstance(part.fault, str) else part.fault) for part in behaviour.errors]

    def next_fault(self) -> Fault:
        """What the next request meets: the script's step, else a draw from the error mix."""
        fault = self.script.take()
        if fault is not None:
            return fault
        if self._mix:
            draw = self.rng.random()
            for share, mixed in self._mix:
                draw -= share
                if draw < 0:
                    return mixed
        return OK
