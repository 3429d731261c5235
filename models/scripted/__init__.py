"""An engine without a model, for tests: it says what its script tells it, as slowly or wrongly as told.

May not import another engine or any package of a model, so that it runs wherever dropscribe is installed.
"""
