"""Mutants that no test can notice, by the reason; tests/mutants.py leaves them out. Names as in tests/mistakes.py."""

REASONS: dict[str, tuple[str, ...]] = {}
EQUIVALENT = {name for names in REASONS.values() for name in names}
