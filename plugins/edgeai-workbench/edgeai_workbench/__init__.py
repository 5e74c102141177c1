"""Build host: from a model's card to the bundle that ships."""
