"""Routes' targets that are deployments of our own: their replicas as facts, and which of them a request goes to."""
