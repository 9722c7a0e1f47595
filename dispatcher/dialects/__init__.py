"""Vendors' management APIs. Each is a thin application over the same core, mounted under its own prefix.

Only a dialect's folder contains what its vendor's API is like. The form of its callbacks is data: it is in the delivery
contract of each webhook, and the workers know no vendors.
"""
