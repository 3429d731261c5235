"""Decides what is to be done: finds complete recordings, admits them, repairs what crashed.

`scanning` lists watched folders in a process of its own, `watching` decides what of them is admitted, `duties` does
what one process of the fleet does for all. Never sees a sample of audio and never imports worker.
"""
