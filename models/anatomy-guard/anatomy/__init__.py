"""What the anatomy guard learns from, and its network."""
