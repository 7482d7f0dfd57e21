"""Bringing a LiteLLM proxy over: its config file becomes a document of ours, its keys, teams and budgets become rows.

``reading`` -> ``providers`` and ``routes`` -> a ``Document``; ``people`` -> teams, their walls, and rows of keys; ``bring`` does it all in
one transaction. Nothing is lost silently: what has no equal here is in ``Notes``.
"""
