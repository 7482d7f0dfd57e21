"""Simulated providers: real HTTP/1.1 servers that speak the wire formats of the register (``formats``), with settable
latency, speed, prices and faults.

Used by the demo, the tests and the drills. Every answer says that it is simulated: a header, a field in
each JSON object, the index page and the line printed at start. Pure: imports only ``apps.contracts``.
"""
