"""What both sides of Bulkhead agree on. Pure: imports nothing of ours, no Django, no DRF, no Celery.

The control plane (Django) and the data plane (proxy, agent, simulator) never import each other;
they meet here: snapshot sections, usage records, the journal's frames, leases, money, wire errors.
"""
