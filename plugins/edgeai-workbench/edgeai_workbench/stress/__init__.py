"""What a model's guards withhold of wrong images: a packed bundle is asked of them, as a device asks it.

``settings`` is the card's table, ``images`` makes the images, ``asking`` asks an open model, ``measuring`` counts;
``words`` and ``pictures`` tell it. ``docs/guides/guards.md`` is for users.
"""
