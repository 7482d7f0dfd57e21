"""The whole config as one YAML document: read, checked, applied in one transaction, exported again.

text.py        bytes -> nodes with line numbers; refuses what YAML allows and nobody should write
document.py    the typed document: every field there is, with its meaning
reading.py     nodes -> document, all problems at once
references.py  ``env:`` and ``file:``, only from allow-listed places
writing.py     rows -> document -> YAML
changes.py     two documents -> the diff that people read
apply.py       document -> services -> publish, or nothing at all
"""
