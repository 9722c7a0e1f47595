"""The console (`/console`, for operators) and the portal (`/portal`, for customers): the same pages, made by the
server.

How to add a page: `docs/console.md`, "A page of your own". What it is made with is in `frame`.
"""
