"""The price book as a whole: every model's price on one page, GPU hours, following the base prices, re-pricing a past period.

What one model costs and what was negotiated with its provider lies in ``apps.providers``; this room looks across them.
"""
