"""Parts for tests of limits: requests that need no socket, windows on a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from apps.contracts.limits import LimitKind, LimitScope
from apps.contracts.snapshot import LimitFragment
from apps.contracts.usage import Tokens
from apps.proxy.errors import Refusal
from apps.proxy.limits import Limits, Window
from apps.proxy.limits_shares import TTL_SECONDS, Pool, ShareKeeper

TTL_MS = round(TTL_SECONDS * 1000)


def fragment(
    kind: LimitKind = "requests_per_minute", amount: int = 10, *, id: str = "l-1", scope: LimitScope = "key", name: str = "tests"
) -> LimitFragment:
    return LimitFragment(id=id, name=name, organisation="o-1", scope=scope, scope_id="k-1", kind=kind, amount=amount)


class Request:
    """What ``Limits`` asks of an exchange."""

    def __init__(self, key: str = "k-1", *, tokens: int = 1, headers: dict[bytes, bytes] | None = None) -> None:
        self.request = SimpleNamespace(headers=headers or {}, plain=not headers)
        self.key = SimpleNamespace(id=key)
        self.input_bound, self.max_output, self.n = tokens, 0, 1
        self.limits: tuple[Window, ...] = ()
        self.holds: Any = ()
        self.attempts: list[Any] = []

    def answered(self, tokens: int) -> None:
        self.attempts = [SimpleNamespace(tokens=Tokens(input=tokens))]

    def left_seconds(self) -> float:
        return 60.0


class Proxy:
    """One process's limits on a clock that is set by hand."""

    def __init__(self, *fragments: LimitFragment, pool: Pool | None, now: Any, proxies: int = 1) -> None:
        self.limits = Limits(now)
        self.keeper = ShareKeeper(self.limits, pool)
        self.limits.proxies = proxies
        self.windows = tuple(self.limits.window_of(each, 1) for each in fragments)

    def admit(self, request: Request, *, last: bool = False) -> Refusal | None:
        return self.limits.admit(request, self.windows, last=last)  # type: ignore[arg-type]

    def end(self, request: Request) -> None:
        self.limits.end(request)  # type: ignore[arg-type]
