"""The whole config as one YAML document: read, checked, applied in one transaction, exported again.

text.py        bytes -> nodes with line numbers; refuses what YAML allows and nobody should write
document.py    the typed document: every field there is, with its meaning; its parts by subject in document_*.py
reading.py     nodes -> document, all problems at once
references.py  ``env:`` and ``file:``, only from allow-listed places
steps.py       one entry -> calls of services; by subject in ownership.py, spending.py, switching.py, watching.py, telling.py ...
writing.py     rows -> document -> YAML
changes.py     two documents -> the diff that people read
apply.py       document -> services -> publish, or nothing at all
"""
