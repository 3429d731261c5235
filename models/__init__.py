"""Speech models behind one protocol, and the only torch in the project.

An engine is a folder (`vibevoice`, `onnx`, `whisper`) or a module; `registry` knows them all. `checkpoints` reads,
fetches and converts weights, `gpu` shares a card among workers. Knows nothing of Celery, Redis or SQL.
"""
