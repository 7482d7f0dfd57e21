"""The API: flags, and flipping them."""
