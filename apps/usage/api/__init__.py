"""The API: requests, traffic and spend, for reading."""
