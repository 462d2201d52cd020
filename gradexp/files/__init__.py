"""Safe reading of files that others may have written."""
