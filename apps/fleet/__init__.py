"""The fleet's control side: workers, GPUs, deployments, replicas. The only writer of what agents should run."""
