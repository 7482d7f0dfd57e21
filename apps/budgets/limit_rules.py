"""Pure checks of what a person may ask of a limit. Every refusal says what to write instead; forms, API and YAML show the same text."""

from __future__ import annotations

from apps.audit.errors import ServiceError
from apps.budgets import limit_choices
from apps.contracts.limits import AmountError, amount_check


def check_name(name: object) -> str:
    """The name without surrounding blanks."""
    if not isinstance(name, str) or not name.strip():
        raise ServiceError("a limit needs a name, such as 'chatbot per minute'", "name")
    name = name.strip()
    if len(name) > 80 or not name.isprintable():
        raise ServiceError("a limit's name has at most 80 characters and no control characters or line breaks", "name")
    return name


def check_kind(kind: object) -> str:
    if not isinstance(kind, str) or kind not in limit_choices.KINDS:
        raise ServiceError(f"{kind!r} is not a kind of limit: choose one of {', '.join(limit_choices.KINDS)}", "kind")
    return kind


def check_scope(scope: object) -> str:
    if not isinstance(scope, str) or scope not in limit_choices.SCOPES:
        raise ServiceError(f"{scope!r} is not what a limit can be for: choose one of {', '.join(limit_choices.SCOPES)}", "scope")
    return scope


def check_amount(amount: object) -> int:
    """A whole number of requests or tokens."""
    try:
        return amount_check(amount)
    except AmountError as error:
        raise ServiceError(str(error), "amount") from None


def check_model(name: object) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > 200 or not name.isprintable():
        raise ServiceError("name the model as its provider names it, in at most 200 characters, such as gpt-4o-mini", "scope_id")
    return name.strip()
