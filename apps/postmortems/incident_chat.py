"""The slash command as Slack and those compatible with it send it: its signature, and what its text asks for. Pure.

A request carries ``X-Slack-Request-Timestamp`` and ``X-Slack-Signature: v0=<hex>``, the HMAC-SHA256 of ``v0:<timestamp>:<body>`` under the
signing secret (https://api.slack.com/authentication/verifying-requests-from-slack).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

OLDEST_SECONDS = 300
"""A timestamp that differs more from our clock is refused: nobody may keep a signed request and send it later."""
_REFERENCE = re.compile(r"(?:inc-?)?#?(\d{1,9})\b[:,]?\s*(.*)", re.IGNORECASE | re.DOTALL)
_SEVERITY = re.compile(r"sev-?([1-4])\b[:,]?\s*(.*)", re.IGNORECASE | re.DOTALL)

DECLARE, UPDATE, NOTE, MOVE, SEVERITY, TAKE, LIST, HELP = "declare", "update", "note", "move", "severity", "take", "list", "help"
MOVES = {
    "active": "active", "mitigated": "mitigated", "resolved": "resolved", "resolve": "resolved", "mitigate": "mitigated",
    "cancel": "cancelled", "cancelled": "cancelled", "close": "closed", "closed": "closed",
}  # fmt: skip
"""Verb -> state."""
USAGE = """\
`/incident chat answers with errors`: declare one; `/incident sev2 chat is down` says how bad
`/incident list`: the open ones
`/incident take INC-3`: look after it
`/incident update INC-3 text`: tell everybody how it stands
`/incident note INC-3 text`: write into its timeline
`/incident mitigated INC-3 text`, also `active`, `resolved`, `closed`, `cancel`: move it on
`/incident severity INC-3 sev1`: change how bad it is"""


class Unsigned(ValueError):
    """A request that is not what it says; the message is for the log and tells a stranger nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a text asks for. reference: of an incident, empty where it needs none. wrong: what is wrong with the text, empty where nothing
    is."""

    verb: str
    reference: str = ""
    text: str = ""
    severity: str = ""
    state: str = ""
    wrong: str = ""


def signature_check(*, secret: str, timestamp: str, signature: str, body: bytes, now: float) -> None:
    """Raises Unsigned unless the body was signed with the secret within the last five minutes. now: seconds since the epoch."""
    if not secret:
        raise Unsigned("there is no signing secret")
    if not re.fullmatch(r"\d{1,12}", timestamp):
        raise Unsigned("the timestamp is no number of seconds")
    if abs(now - int(timestamp)) > OLDEST_SECONDS:
        raise Unsigned("the timestamp is too old, or too far ahead")
    if not hmac.compare_digest(signature_of(secret, timestamp, body).encode(), signature.encode("utf-8", "replace")):
        raise Unsigned("the signature is another one")


def signature_of(secret: str, timestamp: str, body: bytes) -> str:
    """What ``X-Slack-Signature`` holds."""
    return "v0=" + hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()


def asked(written: str) -> Asked:
    """What the text after ``/incident`` asks for; whatever begins with no known word is what is wrong."""
    text = written.strip()
    word, _, rest = text.partition(" ")
    verb, rest = word.casefold(), rest.strip()
    if not text or (verb in ("help", "?") and not rest):
        return Asked(HELP)
    if verb in ("list", "open", "status") and not rest:
        return Asked(LIST)
    if verb in (UPDATE, NOTE, TAKE, "ack", SEVERITY, *MOVES):
        found = _REFERENCE.fullmatch(rest)
        if found is not None:
            return _about(verb, found[1], found[2].strip())
        if verb in (UPDATE, NOTE, TAKE, "ack", SEVERITY) or not rest:
            return Asked(HELP, wrong=f"say which incident: /incident {verb} INC-3 {'' if verb in (TAKE, 'ack') else '…'}".strip())
    if verb in ("declare", "new"):
        text = rest
    severity = _SEVERITY.fullmatch(text)
    level, title = (f"sev{severity[1]}", severity[2].strip()) if severity is not None else ("", text)
    return Asked(DECLARE, text=title, severity=level, wrong="" if title else "say what is wrong: /incident chat answers with errors")


def _about(verb: str, reference: str, text: str) -> Asked:
    if verb in MOVES:
        return Asked(MOVE, reference, text, state=MOVES[verb])
    if verb in (TAKE, "ack"):
        return Asked(TAKE, reference, text)
    if verb == SEVERITY:
        level = _SEVERITY.fullmatch(text) or re.fullmatch(r"([1-4])\b\s*(.*)", text, re.DOTALL)
        wrong = "" if level else "say which severity: sev1, sev2, sev3 or sev4"
        return Asked(SEVERITY, reference, level[2].strip() if level else text, severity=f"sev{level[1]}" if level else "", wrong=wrong)
    return Asked(verb, reference, text, wrong="" if text else f"write what there is to say: /incident {verb} INC-{reference} …")
