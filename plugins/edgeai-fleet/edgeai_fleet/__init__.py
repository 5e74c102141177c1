"""The ops host: a repository of signed models, made with python-tuf, as a folder that anything can serve (ADR 0054)."""
