"""NumPy: the specification. Each file gives an operation as loops, the definition, and as whole-array expressions."""
