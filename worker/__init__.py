"""Does the work: prepares recordings, hands chunks to the resident model, writes transcripts.

Never imports scheduler; reaches SQL only through store and a model only through dropscribe.models.base.
"""
