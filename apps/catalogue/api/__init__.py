"""The API: what an hour of one's own GPUs costs."""
