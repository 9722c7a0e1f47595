"""Vendors' management APIs: each a thin application over the same core, mounted under a prefix of its own.

A dialect's folder is the only place where its vendor is named. What its webhooks' callbacks look like is data: it fills
a delivery contract, and the workers know nothing else.
"""
