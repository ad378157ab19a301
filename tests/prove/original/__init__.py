"""Programs for the original systems: each writes files with what its models predict, or reads ours and says what it finds."""
