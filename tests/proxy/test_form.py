"""Forms as they come: their parts, a new name in one of them, and what is none."""

from __future__ import annotations

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.proxy.errors import Refusal
from apps.proxy.operations.form import Form, read_form
from tests.scale import examples

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


def encoded(fields: dict[str, str], file: bytes, boundary: bytes) -> tuple[dict[bytes, bytes], bytes]:
    kind = b"multipart/form-data; boundary=" + boundary
    request = httpx.Request("POST", "http://x.test/", data=fields, files={"file": ("a.wav", file)}, headers={"content-type": kind.decode()})
    return {b"content-type": kind}, request.read()


@settings(max_examples=examples(150))
@given(TEXT, TEXT, st.binary(max_size=200), TEXT)
def test_a_form_is_read_and_renamed(model: str, prompt: str, file: bytes, other: str) -> None:
    headers, body = encoded({"model": model, "prompt": prompt}, file, b"a-boundary-of-the-test")
    form = read_form(headers, body)
    assert isinstance(form, Form)
    assert form.fields() == {"model": model, "prompt": prompt} and [bytes(one) for one in form.files("file")] == [file]
    changed = read_form(headers, form.with_text("model", other))
    assert isinstance(changed, Form)
    assert changed.fields() == {"model": other, "prompt": prompt} and [bytes(one) for one in changed.files("file")] == [file]


def test_the_same_form_has_the_same_digest_whatever_its_boundary() -> None:
    one, two = (read_form(*encoded({"model": "m"}, b"sound", boundary)) for boundary in (b"first-boundary", b"second-boundary"))
    other = read_form(*encoded({"model": "m"}, b"other", b"first-boundary"))
    assert isinstance(one, Form) and isinstance(two, Form) and isinstance(other, Form)
    assert one.digest() == two.digest() != other.digest()


@settings(max_examples=examples(150))
@given(st.binary(max_size=300), st.integers(0, 400))
def test_nonsense_is_refused_never_an_error(noise: bytes, cut: int) -> None:
    headers, body = encoded({"model": "m"}, b"x" * 50, b"zz")
    for nonsense in (noise, body[:cut], body[:cut] + noise + body[cut:]):
        found = read_form(headers, nonsense)
        assert isinstance(found, Refusal) or all(0 <= part.start <= part.end <= len(nonsense) for part in found.parts)
