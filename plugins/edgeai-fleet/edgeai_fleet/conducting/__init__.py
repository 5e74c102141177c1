"""The conductor: what the carts of a rollout show, what follows from it, and how that is told (ADR 0061)."""
