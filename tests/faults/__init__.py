"""What goes wrong around dropscribe, made to go wrong."""
