"""Who takes part in the comparison of an operation: a file each."""
