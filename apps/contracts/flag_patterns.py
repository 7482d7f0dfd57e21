"""Regular expressions of flag rules: the common part of RE2's and Python's, made safe to run on what strangers send.

RE2 knows no looking around and no references back; Python knows no ``[[:alpha:]]`` and wants inline switches in front of their group.
Python also backtracks: a repeated group that itself repeats or chooses can take for ever on a short text, so such a pattern is not
accepted (RE2 would take it). What cannot be translated matches nothing.
"""

from __future__ import annotations

import re

MAX_PATTERN, MAX_SUBJECT = 200, 256
"""Characters of a pattern, and of the text it is tried on (a longer one does not match)."""
_CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r" \t\n\r\f\v",
    "blank": r" \t",
    "word": "a-zA-Z0-9_",
    "xdigit": "0-9A-Fa-f",
    "punct": r"!-/:-@\[-`{-~",
}
_SWITCHES = re.compile(r"\(\?([ims]+)\)")
_OPENING = re.compile(r"\((?:\?:|\?P<\w+>|(?!\?))")
_REPEAT = re.compile(r"(?:[*+]|\{(\d+)(,?)(\d*)\}|\?)\??")


class PatternRefused(ValueError):
    """The message says what is not accepted."""


class _Group:
    """What has been seen inside one pair of parentheses."""

    def __init__(self) -> None:
        self.opened = 0
        """Groups opened by inline switches, closed with this one."""
        self.restless = False
        """Repeats or chooses."""


def pattern_compile(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """The pattern, to be used with ``search``. Raises PatternRefused."""
    if len(pattern) > MAX_PATTERN:
        raise PatternRefused(f"a pattern has at most {MAX_PATTERN} characters")
    out: list[str] = []
    groups = [_Group()]
    closed: _Group | None = None
    at = 0
    while at < len(pattern):
        char = pattern[at]
        just_closed, closed = closed, None
        switches = _SWITCHES.match(pattern, at)
        if switches is not None:
            out.append(f"(?{switches.group(1)}:")
            groups[-1].opened += 1
            at = switches.end()
        elif char == "\\":
            if at + 1 < len(pattern) and pattern[at + 1] in "123456789":
                raise PatternRefused("references back to a group are not accepted")
            out.append(pattern[at : at + 2])
            at += 2
        elif char == "[":
            end = _class_end(pattern, at)
            out.append(_class(pattern[at:end]))
            at = end
        elif char == "(":
            head = _OPENING.match(pattern, at)
            if head is None:
                raise PatternRefused("looking ahead or behind is not accepted")
            groups.append(_Group())
            out.append(head.group())
            at = head.end()
        elif char == ")":
            if len(groups) == 1:
                raise PatternRefused("a parenthesis is closed that was not opened")
            closed = groups.pop()
            groups[-1].restless = groups[-1].restless or closed.restless
            out.append(")" * (closed.opened + 1))
            at += 1
        else:
            repeat = _REPEAT.match(pattern, at)
            if repeat is not None:
                if repeat.group().rstrip("?") != "" and just_closed is not None and just_closed.restless:
                    raise PatternRefused("a repeated group may neither repeat nor choose inside: it could take for ever")
                groups[-1].restless = groups[-1].restless or repeat.group().rstrip("?") != ""
                out.append(repeat.group())
                at = repeat.end()
            else:
                groups[-1].restless = groups[-1].restless or char == "|"
                out.append(char)
                at += 1
    if len(groups) != 1:
        raise PatternRefused("a parenthesis is not closed")
    out.append(")" * groups[0].opened)
    try:
        return re.compile("".join(out), re.ASCII | (re.IGNORECASE if ignore_case else re.NOFLAG))
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternRefused(str(error)) from None


def _class_end(pattern: str, start: int) -> int:
    """Where the class that starts at ``start`` ends."""
    at = start + 1
    if at < len(pattern) and pattern[at] == "^":
        at += 1
    if at < len(pattern) and pattern[at] == "]":
        at += 1
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 2
        elif pattern.startswith("[:", at):
            end = pattern.find(":]", at)
            at = end + 2 if end >= 0 else at + 1
        elif pattern[at] == "]":
            return at + 1
        else:
            at += 1
    raise PatternRefused("a character class is not closed")


def _class(text: str) -> str:
    def named(match: re.Match[str]) -> str:
        found = _CLASSES.get(match.group(1))
        if found is None:
            raise PatternRefused(f"there is no character class [:{match.group(1)}:]")
        return found

    body = re.sub(r"\[:(\^?\w+):\]", named, text[1:-1])
    return "[" + body.replace("[", r"\[").replace(r"\\[", r"\[") + "]"
