"""One run, from its settings to a whole folder; runs that are computed together; replay."""
