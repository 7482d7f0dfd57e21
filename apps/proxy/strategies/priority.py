"""``priority``: as the config says, lower numbers first, equal ones as they are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apps.proxy.runtime import CompiledTarget
    from apps.proxy.strategies.base import Rank


def rank(target: CompiledTarget, home: str) -> Rank:
    return (target.priority,)
