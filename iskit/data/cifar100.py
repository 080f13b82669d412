"""CIFAR-100: 50,000 + 10,000 colour images of 32 x 32 pixels, a hundred classes (Krizhevsky 2009)."""

from iskit.data.cifar10 import Cifar10
from iskit.data.loader import About, datasets

FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
NAMES = tuple(FINE.split())


@datasets.register("cifar100", "CIFAR-100")
class Cifar100(Cifar10):
    """Published as CIFAR-10 is, with fine labels. Mean and deviation: the study's."""

    original = "CIFAR100"

    def about(self) -> About:
        return About(NAMES, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
