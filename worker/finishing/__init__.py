"""The last step of a job: the finished transcript, and its files beside the recording.

`placement` decides names and writes whole files or none; `publish` registers them in the store.
"""
