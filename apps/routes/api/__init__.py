"""The API: routes, and what is done to one at once: switched to a target, a breaker forced."""
