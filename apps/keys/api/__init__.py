"""The API: virtual keys. A secret is in the answer to the write that made it, and nowhere else."""
