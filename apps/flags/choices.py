"""Kinds of flags and what they can act on."""

from __future__ import annotations

FALLBACK, KILL = "fallback", "kill"
KINDS = [(FALLBACK, "Fallback"), (KILL, "Kill switch")]
SUBJECTS = [("provider", "Provider"), ("route", "Route"), ("key", "Key")]

FLIP_EVENT = "flag.flip"
"""Kind of the event that records a flag going on or off."""
