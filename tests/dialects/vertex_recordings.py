"""Recorded exchanges with Gemini's models on Vertex AI."""

from __future__ import annotations

from tests.dialects.gemini_recordings import check


def recordings_check() -> None:
    check("vertex")
