"""Decides what is to be done: finds complete recordings, admits them, mends what crashed.

Never sees a sample of audio and never imports worker.
"""
