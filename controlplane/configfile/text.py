"""Bytes -> a tree of nodes that know their lines.

Refused before anything is built: text that is not UTF-8, anchors and aliases (a few lines of them make a billion nodes),
tags, several documents in one file, deep nesting, too much of anything, and a key written twice in one mapping.
Keys stay text (YAML 1.1 would read ``on:`` as true); scalars keep the text as written, so that no amount passes through a float.
"""

from __future__ import annotations

from typing import NamedTuple

import yaml

from controlplane.configfile.problems import DocumentError, Problem

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 12
MAX_NODES = 500_000
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Scalar(NamedTuple):
    """kind: what plain YAML would take the text for: str, int, float, bool, null, timestamp. Quoted text is str."""

    line: int
    kind: str
    text: str


class Sequence(NamedTuple):
    line: int
    items: list[Node]


class Mapping(NamedTuple):
    """entries: key -> (the key's line, value)."""

    line: int
    entries: dict[str, tuple[int, Node]]


Node = Scalar | Sequence | Mapping


def read_text(raw: bytes, *, file: str) -> Mapping:
    """The document's top mapping. Raises DocumentError with every problem of this kind."""
    if len(raw) > MAX_BYTES:
        raise DocumentError(file, [Problem(0, "", f"the file has {len(raw)} bytes: at most {MAX_BYTES} are read")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DocumentError(file, [Problem(line, "", f"byte {error.start} is not UTF-8: save the file as UTF-8")]) from None
    try:
        _scan(text, file)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(file, [Problem(mark.line + 1 if mark else 0, "", f"not YAML: {error.problem or error.context}")]) from None
    except yaml.YAMLError as error:
        # A character that YAML does not allow; the reader's own text shows it escaped.
        raise DocumentError(file, [Problem(0, "", f"not YAML: {str(error).splitlines()[0]}")]) from None
    if root is None:
        raise DocumentError(file, [Problem(0, "", "the document is empty")])
    problems: list[Problem] = []
    node = _node(root, "", problems)
    if not isinstance(node, Mapping):
        problems.append(Problem(node.line, "", "the document is a mapping with keys such as 'providers:' and 'routes:'"))
    if problems:
        raise DocumentError(file, problems)
    assert isinstance(node, Mapping)
    return node


def _scan(text: str, file: str) -> None:
    """One pass over the events, which builds nothing."""
    problems: list[Problem] = []
    depth = count = documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                problems.append(Problem(line, "", "a second document starts here: put everything into one"))
        elif isinstance(event, yaml.NodeEvent):
            count += 1
            if isinstance(event, yaml.AliasEvent):
                problems.append(Problem(line, "", f"the alias *{event.anchor} is not read: write the value out"))
            elif event.anchor:
                problems.append(Problem(line, "", f"the anchor &{event.anchor} is not read: write the value out"))
            tag = getattr(event, "tag", None)
            if tag:
                problems.append(Problem(line, "", f"the tag {tag} is not read: leave it out"))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH or count > MAX_NODES:
            what = f"nested deeper than {MAX_DEPTH} levels" if depth > MAX_DEPTH else f"more than {MAX_NODES} values"
            problems.append(Problem(line, "", f"{what}: this is not a config"))
        if problems and (len(problems) >= 20 or depth > MAX_DEPTH or count > MAX_NODES):
            break
    if problems:
        raise DocumentError(file, problems)


def _node(node: yaml.Node, path: str, problems: list[Problem]) -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return Scalar(line, node.tag.rpartition(":")[2], node.value)
    if isinstance(node, yaml.SequenceNode):
        return Sequence(line, [_node(item, f"{path}[{at}]", problems) for at, item in enumerate(node.value)])
    entries: dict[str, tuple[int, Node]] = {}
    for key, value in node.value:
        key_line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            problems.append(Problem(key_line, path, "a key is plain text"))
            continue
        here = f"{path}.{key.value}" if path else key.value
        if key.value in entries:
            problems.append(Problem(key_line, here, f"written twice; first in line {entries[key.value][0]}"))
            continue
        entries[key.value] = (key_line, _node(value, here, problems))
    return Mapping(line, entries)
