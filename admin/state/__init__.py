"""The state of jobs and of the fleet, as commands of several rooms need it.

How a job is found and described, what the fleet is doing, how progress is reported, and which exit status follows.
Only reads the store, and imports nothing of admin but `terminal`.
"""
