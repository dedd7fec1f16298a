"""What the prior `icons` draws: its concepts, their other names, and the sets of icons."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CONCEPTS", "HELD_OUT_SETS", "TINTED_SETS", "TRAINING_SETS", "Concept", "IconSet"]


@dataclass(frozen=True)
class Concept:
    """A thing to draw.

    name: as captions call it.
    label: of the emoji in emojibase's English data.
    synonyms: other words for it, which prompts may use.
    """

    name: str
    label: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class IconSet:
    """A set of icons as a package of npm.

    package: with its version.
    style: the words that captions have for the way it draws.
    licence: SPDX identifier.
    credit: holder, as the set's own `info.json` and its upstream name it.
    """

    package: str
    style: str
    licence: str
    credit: str


TRAINING_SETS: Mapping[str, IconSet] = {
    "noto": IconSet("@iconify-json/noto@1.2.9", "shaded", "Apache-2.0", "Google Inc (Noto Emoji)"),
    "noto-v1": IconSet(
        "@iconify-json/noto-v1@1.2.5", "soft", "Apache-2.0", "Google Inc (Noto Emoji 1)"
    ),
    "fxemoji": IconSet("@iconify-json/fxemoji@1.2.2", "plain", "Apache-2.0", "Mozilla (FxEmojis)"),
    "fluent-emoji-flat": IconSet(
        "@iconify-json/fluent-emoji-flat@1.2.6", "bold", "MIT", "Microsoft Corporation (Fluent)"
    ),
    "fluent-emoji": IconSet(
        "@iconify-json/fluent-emoji@1.2.7", "glossy", "MIT", "Microsoft Corporation (Fluent)"
    ),
    "twemoji": IconSet(
        "@iconify-json/twemoji@1.2.5", "simple", "CC-BY-4.0", "Twitter, Inc and other contributors"
    ),
    "emojione": IconSet("@iconify-json/emojione@1.2.3", "cartoon", "CC-BY-4.0", "Emoji One"),
    "streamline-emojis": IconSet(
        "@iconify-json/streamline-emojis@1.2.4", "outlined", "CC-BY-4.0", "Streamline"
    ),
}

TINTED_SETS: Mapping[str, IconSet] = {
    "mdi": IconSet("@iconify-json/mdi@1.2.3", "silhouette", "Apache-2.0", "Pictogrammers"),
    "ph": IconSet("@iconify-json/ph@1.2.2", "silhouette", "MIT", "Phosphor Icons"),
}

HELD_OUT_SETS: Mapping[str, IconSet] = {
    "openmoji": IconSet("@iconify-json/openmoji@1.2.29", "outlined", "CC-BY-SA-4.0", "OpenMoji"),
    "emojione-v1": IconSet(
        "@iconify-json/emojione-v1@1.2.3", "cartoon", "CC-BY-SA-4.0", "Emoji One"
    ),
}

_TABLE = """
fox | fox | vixen
cat | cat face | kitten, kitty
panda | panda |
frog | frog | toad
pig | pig face | piglet, hog
rabbit | rabbit face | bunny, hare
elephant | elephant |
penguin | penguin |
owl | owl |
chick | front-facing baby chick | hatchling
whale | spouting whale |
octopus | octopus |
fish | tropical fish |
snail | snail |
butterfly | butterfly |
bee | honeybee | honeybee, bumblebee
ladybug | lady beetle | ladybird
turtle | turtle | tortoise
sunflower | sunflower |
tulip | tulip |
cactus | cactus |
mushroom | mushroom | toadstool
tree | evergreen tree | fir, spruce
apple | red apple |
banana | banana |
watermelon | watermelon |
strawberry | strawberry |
pineapple | pineapple |
carrot | carrot |
hamburger | hamburger | burger, cheeseburger
donut | doughnut | doughnut
cake | birthday cake |
house | house | cottage
castle | castle | fortress
rocket | rocket | spaceship, spacecraft
airplane | airplane | plane, aeroplane, aircraft, jet
boat | sailboat | sailboat, yacht
car | automobile | automobile
sun | sun |
star | star |
snowman | snowman without snow |
umbrella | umbrella with rain drops | parasol
balloon | balloon |
gift | wrapped gift | present
crown | crown |
key | key |
ghost | ghost | spirit
robot | robot |
dog | dog face | puppy, hound, doggy
lion | lion |
tiger | tiger face |
horse | horse face | pony, stallion, mare
unicorn | unicorn |
cow | cow face | bull, calf, cattle
mouse | mouse face |
bear | bear | grizzly
koala | koala |
monkey | monkey face | ape
duck | duck | mallard
rooster | rooster | cockerel
shark | shark |
crab | crab |
snake | snake | serpent
rose | rose |
palm tree | palm tree |
clover | four leaf clover | shamrock
grapes | grapes | grape
lemon | lemon |
pear | pear |
cherries | cherries | cherry
tomato | tomato |
eggplant | eggplant | aubergine
avocado | avocado |
pizza | pizza |
cookie | cookie | biscuit
cheese | cheese wedge |
popcorn | popcorn |
coffee | hot beverage | cappuccino, espresso
helicopter | helicopter | chopper
anchor | anchor |
bus | bus | coach
tractor | tractor |
bicycle | bicycle | bike
cloud | cloud |
rainbow | rainbow |
snowflake | snowflake |
fire | fire | flame
volcano | volcano |
trophy | trophy |
football | soccer ball |
basketball | basketball |
shirt | t-shirt | tshirt
dress | dress | gown
glasses | glasses | spectacles
guitar | guitar |
bell | bell |
camera | camera |
television | television | tv
candle | candle |
book | closed book |
lock | locked | padlock
hammer | hammer |
scissors | scissors |
pencil | pencil |
diamond | gem stone | gem, jewel
envelope | envelope | mail, letter
backpack | backpack | rucksack, satchel
shoe | running shoe | sneaker, trainer
pumpkin | jack-o-lantern |
alien | alien | martian
"""


def _concept(line: str) -> Concept:
    name, label, synonyms = (part.strip() for part in line.split("|"))
    return Concept(name, label, tuple(filter(None, synonyms.split(", "))))


CONCEPTS: tuple[Concept, ...] = tuple(_concept(line) for line in _TABLE.strip().splitlines())
"""Concrete things that six or more of the training sets draw: no people, flags, or brands."""
