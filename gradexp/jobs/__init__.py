"""One run, from its settings to a complete folder; runs computed in batches; replay."""
