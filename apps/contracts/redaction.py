"""Takes out of texts what tells of people and opens doors, before anything of them is stored. Pure; used by proxies and in tests.

What is looked for: credentials, e-mail addresses, IBANs (ISO 13616, mod 97), card numbers (Luhn), telephone numbers, and patterns of the
organisation. Each find becomes ``[its kind]``. Every expression here matches in time linear in the text: none repeats what it may match
in two ways, and an organisation's patterns are not regular expressions but templates (``pattern_read``).

Finding too much is accepted, for a sample is there to show a request's shape; finding nothing in a text that was cut in the middle
of a word is not: a text is cut after it was redacted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

MAX_TEXT = 16_384
"""Characters of one text that are kept."""
MAX_BODY = 65_536
"""Characters of a whole body that are kept."""
MAX_JSON = 2_000_000
"""Bytes of a body that is still read as JSON; of a larger one its beginning is kept as text."""
_MARGIN = 512
"""Characters beyond a cut that are redacted with the rest, so that no half of a find is left before it."""
MAX_DEPTH = 64

MAX_PATTERNS, MAX_PATTERN, MIN_PATTERN, MAX_STARS = 20, 100, 3, 2
MAX_PATTERN_NAME = 30

_NAMED = re.compile(
    r"(?i)^(?:.{0,40}[_-])?(?:password|passwd|pwd|secret|authorization|api[_-]?key|(?:access|refresh)[_-]?token|private[_-]?key)$"
)
"""Names of JSON fields whose value is a credential whatever it looks like."""
_CREDENTIAL = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{0,8192}+(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
    r"|\b(?:sk|pk|rk|bk|bkp|bkpass|hf|gsk|xai)[-_][A-Za-z0-9_-]{12,256}+"
    r"|\bbh[jrw]_[A-Za-z0-9_-]{32,256}+"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,255}+|\bgithub_pat_[A-Za-z0-9_]{20,255}+|\bglpat-[A-Za-z0-9_-]{16,64}+"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,64}+|\bxox[abeoprs]-[A-Za-z0-9-]{10,256}+"
    r"|\beyJ[A-Za-z0-9_-]{8,4096}+\.[A-Za-z0-9_-]{8,8192}+\.[A-Za-z0-9_-]{8,1024}+"
    r"|(?i:\b(?:bearer|basic)) [A-Za-z0-9._~+/=-]{12,4096}+"
    r"|(?i:\b(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?token))[ \t]{0,4}+(?:[:=]|(?i:is))[ \t]{0,4}+[^\s\"',;]{4,256}+"
    r"|(?<=://)[^\s/@:]{1,128}+:[^\s/@]{1,256}+(?=@)"
)
_EMAIL = re.compile(r"(?<![\w.%+'-])[\w.%+'-]{1,256}+@[^\W_](?:[\w-]{0,62})(?:\.[\w-]{1,63}){1,8}")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}")
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST",
        26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL", 29: "BR EG PS QA UA", 30: "JO KW MU YE",
        31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_DIGITS = re.compile(r"[0-9]++(?:[ .-][0-9]++)*+")
_PHONE = re.compile(
    r"(?<![\w+])\+[0-9][0-9 ().\u2010-\u2013/-]{6,20}[0-9](?![0-9])"
    r"|(?<![\w.+-])(?:00[1-9][0-9]|0[1-9][0-9]{1,4})[ ./-]{1,3}[0-9](?:[ ./-]?[0-9]){4,12}(?![\w.-]?[0-9])"
    r"|(?<![\w.+-])0[1-9][0-9]{8,11}(?![0-9])"
    r"|(?<![\w.+-])(?:1[ .-])?(?:\([0-9]{3}\) ?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}(?![\w.-]?[0-9])"
)
_LONG_NUMBER = 10**11


class PatternRefused(ValueError):
    """The message says what a pattern may be."""


def pattern_read(pattern: str) -> re.Pattern[str]:
    """A template as an expression: ``#`` is a digit, ``?`` a letter or digit, ``*`` up to 64 letters, digits, ``.``, ``_`` and ``-``; a
    backslash makes the next character itself. Case does not matter. Raises PatternRefused."""
    text = pattern.strip()
    if not MIN_PATTERN <= len(text) <= MAX_PATTERN or not text.isprintable():
        raise PatternRefused(f"a pattern is {MIN_PATTERN} to {MAX_PATTERN} printable characters, such as EMP-###### or case-*")
    out: list[str] = []
    stars = fixed = at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            at += 1
            out.append(re.escape(text[at]))
            fixed += 1
        elif char == "*":
            stars += 1
            out.append(r"[\w.-]{0,64}")
        elif char == "#":
            out.append("[0-9]")
            fixed += 1
        elif char == "?":
            out.append(r"[^\W_]")
        else:
            out.append(re.escape(char))
            fixed += 1
        at += 1
    if stars > MAX_STARS:
        raise PatternRefused(f"a pattern has at most {MAX_STARS} stars: {pattern[:40]!r} would find nearly everything, slowly")
    if fixed < MIN_PATTERN:
        raise PatternRefused(f"{pattern[:40]!r} would find nearly everything: name at least {MIN_PATTERN} characters or digits (#) of it")
    edge = "" if text[0] == "*" else r"(?<!\w)"
    return re.compile(edge + "".join(out) + (r"(?!\w)" if text[-1] not in "*\\" else ""), re.IGNORECASE)


class Redactor:
    """Redacts texts and JSON bodies; ``patterns``: (kind, template) of the organisation. Counts what it found by kind in ``found``."""

    def __init__(self, patterns: Iterable[tuple[str, str]] = ()) -> None:
        """Raises PatternRefused."""
        self._own = [(kind, pattern_read(template)) for kind, template in patterns]

    def body(self, body: bytes) -> Redacted:
        """What may be kept of a body: JSON with its texts redacted, anything else as text."""
        run = Redacted()
        value: Any = None
        readable = False
        if len(body) <= MAX_JSON:
            try:
                value = msgspec.json.decode(body)
                readable = True
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass
        if readable:
            text = msgspec.json.encode(self._value(value, run, 0)).decode()
        else:
            text = self._text(body[: 4 * MAX_BODY].decode("utf-8", "replace"), run, MAX_BODY)
            run.cut = run.cut or len(body) > 4 * MAX_BODY
        if len(text) > MAX_BODY:
            text, run.cut = text[:MAX_BODY], True
        run.text = text
        return run

    def _value(self, value: Any, run: Redacted, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value, run, MAX_TEXT)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            if abs(value) < _LONG_NUMBER:
                return value
            text = str(value)
            kept = self._text(text, run, MAX_TEXT)
            return value if kept == text else kept
        if depth > MAX_DEPTH:
            run.cut = True
            return "[nested too deeply]"
        if isinstance(value, list):
            return [self._value(item, run, depth + 1) for item in value]
        found = {}
        for name, item in value.items():
            if isinstance(item, str) and item and _NAMED.match(name):
                run.add("credential")
                found[name] = "[credential]"
            else:
                found[self._text(name, run, MAX_TEXT)] = self._value(item, run, depth + 1)
        return found

    def _text(self, text: str, run: Redacted, most: int) -> str:
        if text.startswith("data:") and len(text) > 256 and ";base64," in text[:256]:
            run.add("attachment")
            return f"[attachment of {len(text)} characters]"
        cut = len(text) > most + _MARGIN
        if cut:
            text = text[: most + _MARGIN]
        for kind, expression in self._own:
            text = run.replace(kind, expression, text)
        text = run.replace("credential", _CREDENTIAL, text)
        if "@" in text:
            text = run.replace("email", _EMAIL, text)
        text = self._ibans(text, run)
        text = _DIGITS.sub(lambda match: self._cards(match.group(), run), text)
        text = run.replace("phone", _PHONE, text)
        if cut:
            text = text[:-_MARGIN]  # what a find at the edge may have been the half of
        elif len(text) > most:
            text, cut = text[:most], True
        run.cut = run.cut or cut
        return text

    def _ibans(self, text: str, run: Redacted) -> str:
        out, at = "", 0
        while (match := _IBAN.search(text, at)) is not None:
            length = _iban_length(match.group())
            end = match.start() + (length or 4)  # what begins like one and is none may still be followed by one
            out += text[at : match.start()] + ("[iban]" if length else text[match.start() : end])
            if length:
                run.add("iban")
            at = end
        return out + text[at:]

    def _cards(self, text: str, run: Redacted) -> str:
        out = ""
        while (place := _card_in(text)) is not None:
            run.add("card")
            out += f"{text[: place[0]]}[card]"
            text = text[place[1] :]
        return out + text


class Redacted:
    """One body: ``text``, what was found in it by kind, whether it was cut."""

    __slots__ = ("cut", "found", "text")

    def __init__(self) -> None:
        self.text = ""
        self.found: dict[str, int] = {}
        self.cut = False

    def add(self, kind: str) -> None:
        self.found[kind] = self.found.get(kind, 0) + 1

    def replace(self, kind: str, expression: re.Pattern[str], text: str) -> str:
        text, count = expression.subn(f"[{kind}]", text)
        if count:
            self.found[kind] = self.found.get(kind, 0) + count
        return text


def credentials_removed(text: str) -> str:
    """``text`` without what opens doors; for logs, which have no content to redact."""
    return _CREDENTIAL.sub("[credential]", text)


def _iban_length(text: str) -> int:
    """How much of the beginning of ``text`` is an IBAN, of the length that those of its country have; 0: none is."""
    count = _IBAN_LENGTHS.get(text[:2].upper(), 0)
    ends = [at + 1 for at, char in enumerate(text) if char.isalnum()][:count]
    if not count or len(ends) < count:
        return 0
    plain = "".join(char for char in text[: ends[-1]] if char.isalnum()).upper()
    return ends[-1] if int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1 else 0


def _card_in(text: str) -> tuple[int, int] | None:
    """The first group of digits, or groups side by side, of 13 to 19 digits that pass Luhn's check and begin as cards do."""
    groups = list(re.finditer("[0-9]+", text))
    for first, begins in enumerate(groups):
        if begins.group()[0] not in "23456":
            continue
        digits, best = "", 0
        for group in groups[first:]:
            digits += group.group()
            if len(digits) > 19:
                break
            if len(digits) >= 13 and _luhn(digits):
                best = group.end()
        if best:
            return begins.start(), best
    return None


def _luhn(digits: str) -> bool:
    total = 0
    for place, char in enumerate(reversed(digits)):
        number = int(char) * (1 + place % 2)
        total += number - 9 if number > 9 else number
    return total % 10 == 0
