"""Bundles: what a model ships as. ``manifest`` (what it says), ``archive`` (the file), ``reader`` (verify and open)."""
