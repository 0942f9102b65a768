"""The operations: signature and docstring, then validate, choose, call, return."""
