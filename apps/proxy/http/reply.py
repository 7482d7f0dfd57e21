"""The answer to one request, on its way to the client (``types.Reply``)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from apps.proxy.http.types import Flow, Gone

if TYPE_CHECKING:
    from apps.proxy.http.server import ServerConnection

logger = logging.getLogger(__name__)

CLOSE, KEEP, KEEP_10 = 0, 1, 2
"""What happens after the answer: close; keep (HTTP/1.1 needs no word for it); keep, said aloud (HTTP/1.0)."""

_SAID = (b"connection: close\r\n", b"", b"connection: keep-alive\r\n")
_NEW, _STREAMING, _DONE = 0, 1, 2
_JOINED = 65_536
"""Bodies up to this many bytes are copied behind their head into one write; larger ones go as they are, in a second."""


class ServerReply:
    """Calls after the client has gone do nothing; a second answer to one request is a programming error and raises."""

    __slots__ = ("_bodiless", "_chunked", "_connection", "_flow", "_http_10", "_keep", "_state", "gone", "on_gone")

    def __init__(self, _connection: ServerConnection, _keep: int, _http_10: bool, _bodiless: bool) -> None:
        self._connection = _connection
        self._keep = _keep
        self._http_10 = _http_10
        self._bodiless = _bodiless
        self._chunked = False
        self._state = _NEW
        self._flow: Flow | None = None
        self.gone = False
        self.on_gone: Gone | None = None

    @property
    def flow(self) -> Flow | None:
        return self._flow

    def set_flow(self, flow: Flow | None) -> None:
        self._flow = flow
        if flow is not None and self._connection.write_paused and self._state != _DONE:
            flow.pause()

    @property
    def started(self) -> bool:
        """Whether a part of the answer was written."""
        return self._state != _NEW

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        if self._state:
            return self._late()
        self._state = _DONE
        connection = self._connection
        sweep = connection.sweeper
        head = sweep.heads.get(status) or sweep.head(status)
        keep = self._keep
        if connection.draining:
            keep = self._keep = CLOSE
        if keep != KEEP:
            headers += _SAID[keep]
        if status == 204 or status == 304:
            connection.write(b"%b%b\r\n" % (head, headers))
        elif self._bodiless:
            connection.write(b"%b%bcontent-length: %d\r\n\r\n" % (head, headers, len(body)))
        elif len(body) <= _JOINED:
            connection.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (head, headers, len(body), body))
        else:
            connection.write(b"%b%bcontent-length: %d\r\n\r\n" % (head, headers, len(body)))
            connection.write(body)
        connection.answered(keep)

    def start(self, status: int, headers: bytes, data: bytes = b"") -> None:
        if self._state:
            return self._late()
        self._state = _STREAMING
        connection = self._connection
        sweep = connection.sweeper
        head = sweep.heads.get(status) or sweep.head(status)
        if status == 204 or status == 304:
            self._bodiless = True
        elif self._http_10:
            self._keep = CLOSE
        else:
            self._chunked = not self._bodiless
            headers += b"transfer-encoding: chunked\r\n"
        if connection.draining:
            self._keep = CLOSE
        if not data or self._bodiless:
            connection.write(b"%b%b%b\r\n" % (head, headers, _SAID[self._keep]))
        elif self._chunked:
            connection.write(b"%b%b%b\r\n%x\r\n%b\r\n" % (head, headers, _SAID[self._keep], len(data), data))
        else:
            connection.write(b"%b%b%b\r\n%b" % (head, headers, _SAID[self._keep], data))

    def write(self, data: bytes) -> None:
        if self._state != _STREAMING:
            return self._late()
        if self._chunked:
            if len(data) <= _JOINED:
                self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))
            else:
                self._connection.write(b"%x\r\n" % len(data))
                self._connection.write(data)
                self._connection.write(b"\r\n")
        elif not self._bodiless:
            self._connection.write(data)

    def raw_writer(self) -> Callable[[bytes], None] | None:
        """What takes whole chunks as they lie on the wire (size line, data, CRLF); None where this answer is not chunked."""
        if self._state == _STREAMING and self._chunked and not self.gone:
            return self._connection.write
        return None

    def finish(self, data: bytes = b"") -> None:
        if self._state != _STREAMING:
            return self._late()
        self._state = _DONE
        if self._chunked:
            self._connection.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n")
        elif data and not self._bodiless:
            self._connection.write(data)
        self._connection.answered(self._keep)

    def abort(self) -> None:
        if self._state == _DONE:
            return self._late()
        self._state = _DONE
        self._connection.break_off(flush=self._chunked)

    def leave(self) -> None:
        """The client is gone; called by the connection."""
        if self._state == _DONE:
            return
        self._state = _DONE
        self.gone = True
        if self.on_gone is not None:
            try:
                self.on_gone()
            except Exception:
                logger.exception("on_gone failed")

    def _late(self) -> None:
        if not self.gone:
            raise RuntimeError("This request's answer is finished, or was not started.")
