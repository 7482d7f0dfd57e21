"""Words for nonsense: odd values for any place of any document, and documents of nothing but those."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

ODD = [None, True, -1, 10**30, 0.5, "", "x", "\ud83d", [], [[]], [None], ["x"], {}, {"x": {}}, {"type": []}]
JSON = st.recursive(
    st.sampled_from(ODD), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "parts", "type"]), inner)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(one, (*path, key))


def spoilt(whole: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """With this value at that place; what is not on the way to it is the same object."""
    if not path:
        return odd
    made = copy.copy(whole)
    made[path[0]] = spoilt(whole[path[0]], path[1:], odd)
    return made
