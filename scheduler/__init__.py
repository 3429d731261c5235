"""Decides what is to be done: finds complete recordings, admits them, repairs what crashed.

`scanning` lists watched folders in a separate process, `watching` decides which files are admitted, `duties` does the
work that one process of the fleet does for all. Never sees a sample of audio and never imports worker.
"""
