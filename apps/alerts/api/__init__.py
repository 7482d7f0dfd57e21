"""The API: alerts, rules, SLOs, silences, channels."""
