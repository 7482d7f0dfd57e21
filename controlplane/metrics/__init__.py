"""What the web process says to Prometheus: its own pages' traffic, and what only the control plane knows of the whole installation."""
