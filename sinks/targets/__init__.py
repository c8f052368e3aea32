"""Where changes are applied: one contract, several targets."""
