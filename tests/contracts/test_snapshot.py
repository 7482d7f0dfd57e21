"""Fragments survive the wire, equal ones give equal bytes, and older and newer readers understand each other."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.snapshot import (
    NEVER_ROLLED_BACK,
    SECTIONS,
    BudgetFragment,
    Change,
    Delta,
    Fragment,
    KeyFragment,
    SnapshotError,
    decode_fragment,
    encode_fragment,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def strategy(node: msgspec.inspect.Type) -> st.SearchStrategy[object]:
    """Values of a field's declared type."""
    match node:
        case msgspec.inspect.StrType():
            return TEXT
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.IntType():
            return st.integers(-(2**63), 2**63 - 1)
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.AnyType():  # rules of flags: whatever JSON holds
            return st.one_of(TEXT, st.booleans(), st.integers(-(2**53), 2**53), st.lists(TEXT, max_size=3))
        case msgspec.inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case msgspec.inspect.VarTupleType(item_type=item):
            return st.lists(strategy(item), max_size=3).map(tuple)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*(strategy(item) for item in items))
        case msgspec.inspect.ListType(item_type=item):
            return st.lists(strategy(item), max_size=3)
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(strategy(key), strategy(value), max_size=3)
        case msgspec.inspect.UnionType(types=types):
            return st.one_of([strategy(each) for each in types])
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: strategy(field.type) for field in fields})
    raise AssertionError(f"no strategy for {node}: add one")


def fragments(section: str) -> st.SearchStrategy[Fragment]:
    return strategy(msgspec.inspect.type_info(SECTIONS[section]))  # type: ignore[return-value]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_survives_the_wire(section: str) -> None:
    @given(fragments(section))
    def survives(fragment: Fragment) -> None:
        body = encode_fragment(fragment)
        again = decode_fragment(section, body)
        assert again == fragment
        assert encode_fragment(again) == body

    survives()


@given(fragments("keys"), fragments("budgets"))
def test_a_delta_survives_the_wire(key: Fragment, budget: Fragment) -> None:
    delta = Delta(3, 7, [Change("keys", key.id, encode_fragment(key)), Change("budgets", budget.id, None)])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(delta), type=Delta) == delta


def test_an_older_reader_passes_over_what_it_does_not_know() -> None:
    body = b'{"id":"k","name":"n","public_id":"p","organisation":"o","digests":[],"from_the_future":{"deep":[1]}}'
    assert decode_fragment("keys", body) == KeyFragment(id="k", name="n", public_id="p", organisation="o", digests=[])


def test_defaults_are_not_sent() -> None:
    budget = BudgetFragment(id="b", name="n", organisation="o", scope="key", scope_id="k", window="day", limit_nano=5)
    assert b"timezone" not in encode_fragment(budget)
    assert b"hard" not in encode_fragment(budget)


@pytest.mark.parametrize(
    ("section", "body", "says"),
    [
        ("nonsense", b"{}", "unknown section 'nonsense'"),
        ("budgets", b"{}", "missing required field"),
        ("budgets", b'{"id": 5}', "Expected `str`"),
        ("budgets", b"{", "section budgets"),
        ("keys", b'{"id":"k","name":"n","public_id":"p","organisation":"o","digests":[],"state":"asleep"}', "Invalid enum value"),
        ("keys", b"\xff\xfe", "section keys"),
    ],
)
def test_what_does_not_fit_is_refused_with_section_and_field(section: str, body: bytes, says: str) -> None:
    with pytest.raises(SnapshotError) as refused:
        decode_fragment(section, body)
    assert says in str(refused.value)


def test_secrets_keys_and_captures_are_never_rolled_back() -> None:
    assert set(SECTIONS) >= NEVER_ROLLED_BACK == {"keys", "credentials", "captures"}
