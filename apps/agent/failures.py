"""Why an engine ended, in words: from its exit code, what the agent did, and the end of its log. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from apps.contracts.fleet_facts import Reason

_MEMORY = (
    "outofmemoryerror", "out of memory", "cuda_error_out_of_memory", "cannot allocate memory", "no available memory for the cache blocks",
    "failed to allocate buffer", "std::bad_alloc",
)  # fmt: skip
_CODE = (("trust_remote_code", "trust-remote-code"), "remote_code")
_SPACE = "no space left on device"
_CODES = {
    1: "an error of its own",
    2: "it did not understand its command line",
    126: "it may not be executed",
    127: "it was not found",
    134: "it aborted itself",
    137: "it was killed, most often for want of memory",
    139: "it crashed (segmentation fault)",
    143: "it was asked to end",
}


class Broken(Exception):
    """An engine that runs and is of no use."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message


class StartError(Exception):
    """Nothing was started; the message says why."""


def why(code: int | None, error: str, lines: Sequence[str], *, oom_kills: int = 0) -> tuple[Reason, str]:
    """(reason, sentence) for a process that ended without being told to. code: None: nobody saw it; negative: the signal.
    error: why it could not be run. oom_kills: how many processes the kernel has killed for memory while it ran."""
    if error:
        return "start_failed", f"{error}. Correct the worker's installation."
    said = "\n".join(lines).lower()
    if any(mark in said for mark in _MEMORY):
        return (
            "out_of_memory",
            f"{_ending(code)}; its log speaks of memory that it did not get. Give it more, or a smaller model.",
        )
    if code in (-signal.SIGKILL, 137) and oom_kills:
        return "out_of_memory", "The kernel killed it because the machine had no memory left. Give the machine more, or run less on it."
    if any(mark in said for mark in _CODE[0]):
        return "remote_code", f"{_ending(code)}; the model needs code of its own. Take another, or allow its code after reading it."
    if _SPACE in said:
        return "no_space", f"{_ending(code)}; the disk is full. Remove models that nobody uses."
    if code is None:
        return "killed", "Its guardian was killed, and it with it. Look into the machine's log for what kills processes."
    if code < 0:
        name = _signal(-code)
        reason: Reason = "killed" if -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP) else "crashed"
        return reason, f"It was ended by {name}, which the agent did not send. Its last lines and the machine's log may say why."
    if code == 0:
        return "exited", "It ended by itself with exit code 0, though it should serve. Does its command stay in the foreground?"
    return "crashed", f"{_ending(code)}. Its last lines say more."


def _ending(code: int | None) -> str:
    if code is None:
        return "It is gone"
    if code < 0:
        return f"It was ended by {_signal(-code)}"
    known = f" ({_CODES[code]})" if code in _CODES else ""
    return f"It ended with exit code {code}{known}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
