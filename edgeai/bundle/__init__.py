"""Bundles: manifest, archive, reader."""
