"""The API: what its views share, and the resources of this app. Each app's ``api`` package holds its own resources.

authentication.py  who calls: a personal token, or the browser's session
errors.py          one shape for everything that fails
rates.py           a rate, of one process or of all that share a Redis
throttling.py      how often one token may call
pagination.py      lists by cursor
serializers.py     strict input, and the contract's structs as serializers
etags.py           what a representation's tag is, and what a write must know of it
views.py           ApiView and the views of things that are not published
"""
