"""The API: one request with why it went where it went, and everything that is switched on."""
