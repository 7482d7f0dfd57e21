"""OpenAI's API over any backend: addresses, request bodies, answers, streams, the line, metrics, the end. Knows no model."""
