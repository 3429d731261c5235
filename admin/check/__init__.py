"""`doctor` and `health`: is everything there that dropscribe needs, and does it work now. Change nothing."""
