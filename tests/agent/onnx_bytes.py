"""ONNX models byte by byte, as protobuf writes them: for what no exporter would write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def part(field: int, content: bytes | str | int) -> bytes:
    if isinstance(content, int):
        return varint(field << 3) + varint(content)
    data = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(data)) + data


def node(kind: str, domain: str = "", attributes: Iterable[bytes] = ()) -> bytes:
    return part(4, kind) + (part(7, domain) if domain else b"") + b"".join(part(5, attribute) for attribute in attributes)


def tensor(name: str, external: Mapping[str, str] | None = None, raw: bytes = b"\0\0\0\0") -> bytes:
    head = part(1, 1) + part(2, 1) + part(8, name)
    if external is None:
        return head + part(9, raw)
    return head + b"".join(part(13, part(1, key) + part(2, value)) for key, value in external.items()) + part(14, 1)


def graph(nodes: Iterable[bytes], initializers: Iterable[bytes] = ()) -> bytes:
    return b"".join(part(1, one) for one in nodes) + part(2, "g") + b"".join(part(5, one) for one in initializers)


def function(domain: str, name: str, nodes: Iterable[bytes]) -> bytes:
    return part(1, name) + b"".join(part(7, one) for one in nodes) + part(10, domain)


def model(body: bytes, functions: Iterable[bytes] = ()) -> bytes:
    return (
        part(1, 10) + part(2, "tests") + part(7, body) + part(8, part(1, "") + part(2, 18)) + b"".join(part(25, one) for one in functions)
    )
