"""Files that others may have written, read with care."""
