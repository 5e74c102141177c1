"""``edgeai fleet demo``: a repository, three carts and two rollouts in one terminal."""
