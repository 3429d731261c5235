"""What other servers are asked for, answered by this fleet: OpenAI's API, and that of whisper-asr-webservice.

A request becomes a job. It decides nothing, as the rest of the server.
"""
