"""One process each; they meet only at the spool."""
