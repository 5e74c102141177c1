"""A cart's update client: offers and blobs of a repository, verified, and installed beside what runs (ADR 0058)."""
