"""What a config may name, import, read and write."""
