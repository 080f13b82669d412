"""Images as they are.

cite: none
changes: nothing
passes: none extra
rule: x -> x
differs: nothing
neutral: always
"""

from iskit.augment.base import Augment, augments


@augments.register("none")
class Nothing(Augment):
    pass
