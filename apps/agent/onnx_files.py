"""Whether an ONNX file is data only: read from its own bytes, without onnx or onnxruntime.

An ``.onnx`` file is a protobuf message. Loading it runs no code of its own, with three ways around that, and each is refused here:
operators that are not the runtime's own need a library that somebody loads; nodes that hold a compiled blob for an accelerator hand it
to a driver; weights may lie in other files, whose names the model gives, so they could name any file of the machine.

Field numbers are those of ``onnx.proto3`` (ONNX IR version 3 on).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from apps.contracts.fleet_facts import Reason

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
"""Whose operators onnxruntime brings along."""
BLOBS = frozenset({"EPContext"})
"""Operators of those domains that carry programs for an accelerator."""
LIBRARIES = (".so", ".dll", ".dylib")
MOST_DEPTH = 64
"""Graphs inside graphs."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _FUNCTION = 7, 25  # of a model
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15  # of a graph
_ATTRIBUTE, _OP_TYPE, _NODE_DOMAIN = 5, 4, 7  # of a node
_TENSOR_OF, _GRAPH_OF, _TENSORS, _GRAPHS, _SPARSE_OF, _SPARSES = 5, 6, 10, 11, 22, 23  # of an attribute
_FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN, _FUNCTION_ATTRIBUTE = 1, 7, 10, 11
_VALUES, _INDICES = 1, 2  # of a sparse tensor
_NAME, _EXTERNAL = 8, 13  # of a tensor


class Malformed(Exception):
    """The bytes are not such a message."""


class Problem(NamedTuple):
    """Why a file may not be loaded."""

    reason: Reason
    message: str


class External(NamedTuple):
    """Where a tensor's bytes lie outside the model: a path beside the model's file, and which bytes of it."""

    tensor: str
    location: str
    offset: int
    length: int


class Contents(NamedTuple):
    """What a model names. operators: (domain, type) of each node. functions: (domain, name) of those that it defines by others."""

    operators: frozenset[tuple[str, str]]
    functions: frozenset[tuple[str, str]]
    external: tuple[External, ...]
    nodes: int


def problem_of(file: Path, root: Path) -> Problem | None:
    """What is wrong with an ONNX file below root, the model's directory; None where it is data only. Blocks."""
    try:
        found = contents(file)
    except Malformed as error:
        return Problem("artifact_malformed", f"{file} is not ONNX: {error}. Copy it anew.")
    foreign = sorted({f"{domain}::{kind}" for domain, kind in found.operators - found.functions if domain not in DOMAINS})
    if foreign:
        return Problem(
            "remote_code",
            f"{file} uses operators that onnxruntime has not ({', '.join(foreign[:5])}): they need a library of code, and none is loaded "
            "here. Export the model with standard operators.",
        )
    if blobs := sorted(kind for domain, kind in found.operators if domain in DOMAINS and kind in BLOBS):
        return Problem(
            "remote_code",
            f"{file} holds a program for an accelerator ({blobs[0]}), not a graph. Take the model as it was before it was compiled.",
        )
    for one in found.external:
        if problem := _external_problem(one, file, root):
            return Problem(*problem)
    return None


def libraries_problem(path: Path, files: list[Path]) -> Problem | None:
    """A library in a model's directory has no business there: nothing here loads it, and nothing shall."""
    found = [file.name for file in files if any(suffix.lower() in LIBRARIES for suffix in file.suffixes)]
    if not found:
        return None
    return Problem("remote_code", f"{path} holds a library of code ({found[0]}), which no ONNX model needs here. Remove it.")


def contents(file: Path) -> Contents:
    """Raises Malformed. Weights are skipped, not read: a model of gigabytes takes no longer than its graph does."""
    size = file.stat().st_size
    if size == 0:
        raise Malformed("it is empty")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = _Reader(data)
        reader.model(size)
        if not reader.nodes:
            raise Malformed("it holds no graph")
        return Contents(frozenset(reader.operators), frozenset(reader.functions), tuple(reader.external), reader.nodes)


def _external_problem(one: External, file: Path, root: Path) -> tuple[Reason, str] | None:
    where = f"{file}: the weights {one.tensor!r} lie in {one.location[:200]!r}"
    if not one.location or "\0" in one.location or Path(one.location).is_absolute() or ".." in Path(one.location).parts:
        return "artifact_outside", f"{where}, which is not a path below the model's directory. Export the model anew."
    data = (file.parent / one.location).resolve()
    if not data.is_relative_to(root.resolve()):
        return "artifact_outside", f"{where}, which leads out of the model's directory. Copy the file there instead of linking it."
    if not data.is_file():
        return "artifact_malformed", f"{where}, which is not there. Copy the model anew, all its files."
    size = data.stat().st_size
    if one.offset < 0 or one.length < 0 or one.offset + one.length > size:
        return "artifact_malformed", f"{where}, which is cut off: {size:,} bytes of {one.offset + one.length:,}. Copy it anew."
    return None


class _Reader:
    """Walks a model once. Every length is held against the end of what it lies in."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.operators: set[tuple[str, str]] = set()
        self.functions: set[tuple[str, str]] = set()
        self.external: list[External] = []
        self.nodes = 0

    def model(self, size: int) -> None:
        for field, start, end in self._parts(0, size):
            if field == _GRAPH:
                self._graph(start, end, 0)
            elif field == _FUNCTION:
                self._function(start, end)

    def _graph(self, start: int, end: int, depth: int) -> None:
        if depth > MOST_DEPTH:
            raise Malformed(f"its graphs lie more than {MOST_DEPTH} deep in each other")
        for field, first, last in self._parts(start, end):
            if field == _NODE:
                self._node(first, last, depth)
            elif field == _INITIALIZER:
                self._tensor(first, last)
            elif field == _SPARSE:
                self._sparse(first, last)

    def _function(self, start: int, end: int) -> None:
        name = domain = ""
        for field, first, last in self._parts(start, end):
            if field == _FUNCTION_NAME:
                name = self._text(first, last)
            elif field == _FUNCTION_DOMAIN:
                domain = self._text(first, last)
            elif field == _FUNCTION_NODE:
                self._node(first, last, 0)
            elif field == _FUNCTION_ATTRIBUTE:
                self._attribute(first, last, 0)
        self.functions.add((domain, name))

    def _node(self, start: int, end: int, depth: int) -> None:
        kind = domain = ""
        for field, first, last in self._parts(start, end):
            if field == _OP_TYPE:
                kind = self._text(first, last)
            elif field == _NODE_DOMAIN:
                domain = self._text(first, last)
            elif field == _ATTRIBUTE:
                self._attribute(first, last, depth)
        self.nodes += 1
        self.operators.add((domain, kind))

    def _attribute(self, start: int, end: int, depth: int) -> None:
        for field, first, last in self._parts(start, end):
            if field in (_GRAPH_OF, _GRAPHS):
                self._graph(first, last, depth + 1)
            elif field in (_TENSOR_OF, _TENSORS):
                self._tensor(first, last)
            elif field in (_SPARSE_OF, _SPARSES):
                self._sparse(first, last)

    def _sparse(self, start: int, end: int) -> None:
        for field, first, last in self._parts(start, end):
            if field in (_VALUES, _INDICES):
                self._tensor(first, last)

    def _tensor(self, start: int, end: int) -> None:
        name, named = "", {}
        for field, first, last in self._parts(start, end):
            if field == _NAME:
                name = self._text(first, last)
            elif field == _EXTERNAL:
                key = value = ""
                for part, begin, stop in self._parts(first, last):
                    if part == 1:
                        key = self._text(begin, stop)
                    elif part == 2:
                        value = self._text(begin, stop)
                named[key] = value
        if named:
            try:
                offset, length = int(named.get("offset") or 0), int(named.get("length") or 0)
            except ValueError:
                raise Malformed(f"the weights {name!r} say not where they lie") from None
            self.external.append(External(name, named.get("location", ""), offset, length))

    def _text(self, start: int, end: int) -> str:
        return self.data[start:end].decode(errors="replace")

    def _parts(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(field, start, end) of what is bytes; numbers are passed over."""
        while at < end:
            key, at = self._varint(at, end)
            field, wire = key >> 3, key & 7
            if wire == _BYTES:
                length, at = self._varint(at, end)
                if length > end - at:
                    raise Malformed("it is cut off")
                yield field, at, at + length
                at += length
            elif wire == _VARINT:
                _, at = self._varint(at, end)
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
                if at > end:
                    raise Malformed("it is cut off")
            else:
                raise Malformed("its bytes are no message")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            if at >= end or shift > 63:
                raise Malformed("it is cut off" if at >= end else "its bytes are no message")
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
