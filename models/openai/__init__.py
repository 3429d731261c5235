"""A model that somebody else serves: any server with OpenAI's API for transcriptions, or VibeVoice-ASR on vLLM.

The recordings leave this machine, to the one server that the settings name. `requests` speaks the two protocols,
`answers` reads what comes back and is pure.
"""
