"""All that knows how Hydra composes configs, and how a run is built of one."""
