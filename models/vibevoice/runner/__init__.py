"""Many requests at once on one language model: a paged cache, requests that join and leave, embeddings as prompts.

Policy (`pages`, `request`, `scheduler`, `layout`, `attention_choice`) knows no torch. Nothing here knows audio or text,
or how a checkpoint is loaded.
"""
