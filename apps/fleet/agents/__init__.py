"""What agents call: an ASGI application of its own, beside Django's pages and API, so that a thousand long polls hold no thread and no
connection to the database."""
