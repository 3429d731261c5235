"""An engine without a model, for tests: it says what its script says, as slowly or wrongly as asked.

May not import another engine or any package of a model, so that it runs wherever dropscribe is installed.
"""
