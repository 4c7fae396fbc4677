"""Programs that the engine starts from their files, as processes of their own: they know nothing
of fob."""
