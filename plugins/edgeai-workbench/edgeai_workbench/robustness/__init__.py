"""What happens to odd images, and to another hospital's: source images are spoilt or shifted, and models asked again.

``kinds`` names what can be done to an image, ``planes`` does it, ``frames`` carries it through a ``Frame``, ``asking``
asks models, ``table`` and ``shifts`` count, ``measuring`` puts it together; ``building`` asks for a build or a bundle.
``docs/guides/robustness.md`` is for users.
"""

from edgeai_workbench.robustness.results import Part, Robustness, Row, Shift, ShiftedModel

__all__ = ["Part", "Robustness", "Row", "Shift", "ShiftedModel"]
