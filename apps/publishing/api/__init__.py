"""The API: views of things that are published, which the apps above build on, and config versions."""
