"""Starts, watches and stops everything that one machine runs: embedded PostgreSQL and Redis, and our own processes."""
