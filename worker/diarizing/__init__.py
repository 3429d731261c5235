"""From audio in the spool to who speaks when: speaker embeddings, and the turns that they tell.

Knows the runtime and the spool, the pure part of merging and the speaker encoder; no engine, no outputs.
"""
