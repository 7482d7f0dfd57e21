"""Replays a recorded arrival trace against a running proxy: real arrival times, prompts and answers of the recorded sizes."""
