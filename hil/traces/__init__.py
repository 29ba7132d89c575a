"""The proof that nothing of a visitor remains: `python -m hil.traces` (make proof).

docs/privacy-proof.md says what each line of its table means and what it does not cover.
"""
