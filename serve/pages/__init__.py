"""The pages: what the API tells, for people with a browser. Templates and what browsers fetch lie in folders beside it.

Routes here know no more than those of the API: the store as the caller sees it. What a page changes, its script
changes by the API.
"""
