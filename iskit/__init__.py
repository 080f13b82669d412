"""A study kit for budgeted training: choose which images to train on, or vary how they look?"""

from iskit.fit import fit
from iskit.wrap import wrap

__all__ = ["fit", "wrap"]
