"""Workers and deployments for programs."""
