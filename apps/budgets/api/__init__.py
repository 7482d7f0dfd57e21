"""The API: budgets with where they stand, overrides of them, limits, performance budgets with their verdicts."""
