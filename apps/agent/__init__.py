"""The agent of one GPU worker (or of a machine without a GPU): joins, heartbeats, learns what to run, and keeps engines alive. Pure.

``link`` dials the control plane, ``reconcile`` decides (a pure function), ``replica`` carries one engine through its phases,
``guardian`` is the tiny process above each engine that lets none outlive its agent, ``engines`` knows what can be run.
Imports only ``apps.contracts``; no Django.
"""
