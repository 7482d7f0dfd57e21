"""HTTP/1.1 of our own, both sides, on httptools and asyncio transports, because it is the hot path.

Everything above this package sees requests and replies, never sockets. ``types`` is the border.
"""
