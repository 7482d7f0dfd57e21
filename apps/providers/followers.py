"""Who wants to hear that a model was met, or that its price list is another one: rooms above this one that keep more of it than prices."""

from __future__ import annotations

from collections.abc import Callable

from apps.providers.models import ProviderModel

Follower = Callable[[ProviderModel], None]

_followers: list[Follower] = []


def register_follower(follower: Follower) -> None:
    """Called in the change's own transaction; the same one twice is harmless."""
    if follower not in _followers:
        _followers.append(follower)


def model_met(model: ProviderModel) -> None:
    """Tell them."""
    for follower in _followers:
        follower(model)
