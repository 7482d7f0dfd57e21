"""The built-in engine: Hugging Face transformers' continuous batching behind ``apps.engine.http``."""
