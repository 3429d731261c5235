"""Does the work: prepares recordings, hands chunks to the resident model, writes transcripts.

The rooms follow a recording: `preparing`, `transcribing`, `merging`, `finishing` with its `outputs`; `runtime` is the
process around them. Never imports scheduler; reaches SQL only through store and a model only through its protocol.
"""
