"""What an app is told when a budget has no room: the numbers, and what would fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.contracts.money import dollars_text
from apps.contracts.snapshot import BudgetFragment
from apps.proxy.errors import Refusal
from apps.proxy.spend import MAX_APPLYING

if TYPE_CHECKING:
    from apps.contracts.pricing import Price
    from apps.proxy.exchange import Exchange
    from apps.proxy.leases import Shortage
    from apps.proxy.spend import Spend

STEP = "reserve"
TOO_MANY = f"More than {MAX_APPLYING} hard budgets apply to this request: send fewer tags, or have budgets merged."


def shortage_refusal(exchange: Exchange, shortage: Shortage, amount: int, price: Price | None, spend: Spend) -> Refusal:
    """amount: the request's own bound, nano-dollars."""
    fragment = exchange.runtime.fragments["budgets"].get(shortage.budget.partition("/")[0])
    name = fragment.name if isinstance(fragment, BudgetFragment) else shortage.budget
    if shortage.kind == "unavailable":
        message = f"Spending cannot be checked right now, and the budget {name!r} applies to this request. Try again in a moment."
        return Refusal("budget_unavailable", STEP, message)
    room = min(shortage.available, exchange.engine.leases.room([one for one in spend.ids if one not in spend.soft]))
    fits = fitting_output(exchange, price, room) if price is not None and exchange.max_output else None
    if fits:
        hint = f"It would fit now with max_tokens of at most {fits}; or have the budget raised."
    elif fits == 0:
        hint = "Its input alone does not fit: shorten it, or have the budget raised."
    else:
        hint = "Ask for less, or have the budget raised."
    message = (
        f"The budget {name!r} has no room for this request: limit ${dollars_text(shortage.limit)}, "
        f"spent ${dollars_text(shortage.spent)}, reserved ${dollars_text(shortage.leased)}, "
        f"this request could cost up to ${dollars_text(amount)}. {hint}"
    )
    detail = {
        "budget": name,
        "limit_nano": shortage.limit,
        "spent_nano": shortage.spent,
        "reserved_nano": shortage.leased,
        "bound_nano": amount,
        "available_nano": room,
    }
    if fits is not None:
        detail["max_tokens"] = fits
    return Refusal("budget_exceeded", STEP, message, None, detail)


def fitting_output(exchange: Exchange, price: Price, room: int) -> int:
    """The largest output cap, below the request's own, whose bound is at most ``room`` nano-dollars; 0 where none is."""
    low, high = 0, exchange.max_output - 1
    while low < high:
        middle = (low + high + 1) // 2
        if price.bound(exchange.input_bound, middle, exchange.n) <= room:
            low = middle
        else:
            high = middle - 1
    return low
