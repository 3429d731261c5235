"""CMU PocketSphinx with the small English model that its wheel brings: offline, and far from today's recognizers.

pocketsphinx is imported only where the model is loaded. Shares nothing with the other engines but the protocol.
"""
