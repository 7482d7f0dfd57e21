"""What `manage.py up` sets up so that there is something to see: a simulated organisation, and real OpenAI where a key is at hand."""
