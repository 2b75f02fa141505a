"""What is said besides the vocabulary, so that the demo model learns to say nothing to it.

everyday_sentence  a drawn sentence without one word of the vocabulary
random_words       words of Debian's English word list (package wamerican), without the vocabulary and what
                   sounds like it (the list is SCOWL's, free for any use)
"""

from functools import cache
from pathlib import Path
from random import Random

from tools.demo_model.vocabulary import words
from voxtral.errors import ConfigError

WORD_LIST = Path("/usr/share/dict/american-english")
# sound like a word of the vocabulary, or begin with one
LIKE_OURS = frozenset(
    {
        "won", "wan", "juan", "to", "too", "tu", "for", "fore", "ate", "ait", "sicks", "fife", "nein", "tree",
        "eye", "aye", "ay", "hey", "mi", "mae", "bru", "cream", "creme", "knot", "nit", "wight", "lite", "rost",
        "soya", "sum", "hole", "lodge", "lattice", "own", "hows",
    }
)  # fmt: skip

PEOPLE = (
    "my sister", "your neighbor", "the teacher", "our doctor", "every student", "nobody", "the tall man", "that woman",
    "his uncle", "their daughter", "the mayor", "she", "he", "they", "we", "you", "the children", "our guests",
)  # fmt: skip
DEEDS = (
    "forgot", "painted", "found", "carried", "sold", "repaired", "borrowed", "noticed", "cleaned", "lost", "moved",
    "bought", "opened", "locked", "described", "finished", "broke", "watched", "expected", "counted", "brought",
)  # fmt: skip
THINGS = (
    "the blue umbrella", "his old bicycle", "every letter", "the kitchen window", "their newspaper", "her winter coat",
    "the garden gate", "those tickets", "the piano", "my keys", "the report", "that picture", "the long ladder",
    "these apples", "the train", "our supper", "the truth", "the wrong door", "this problem", "green tea", "the bread",
    "their breakfast", "the empty cup", "hot water", "the spoons", "fresh lemonade", "the telephone", "some of it",
)  # fmt: skip
PLACES = (
    "near the station", "behind the school", "at the market", "under the bridge", "by the river", "on the table",
    "in the city", "after the concert", "beside the road", "from the attic", "at home", "in the kitchen", "out there",
    "across the street", "before lunch", "without asking", "between the trees", "during the storm",
)  # fmt: skip
TIMES = (
    "yesterday", "this morning", "last winter", "again", "on sunday", "very slowly", "at noon", "once more", "today",
    "every evening", "as usual", "too late", "in the end", "by mistake", "right now", "next year", "ages ago",
)  # fmt: skip
REMARKS = (
    "please turn down the music", "where did she put the scissors", "thank you so much", "see you tomorrow then",
    "what time does the bus leave", "excuse us please", "that sounds wonderful", "how was your journey",
    "please close the door behind you", "did anybody call while they were out", "the weather should improve soon",
    "please show us the menu", "how much does this cost", "they ran out of bread", "is there any tea left",
    "could you bring the bill please", "nothing else thanks", "we are still waiting", "keep the change",
    "let us sit by the window", "your table is ready", "which bus goes downtown", "stop the timer", "play another song",
    "turn off all lamps", "what is the weather", "call the office", "hello", "good morning everybody", "yes please",
    "no thank you", "sorry", "never mind", "wait here", "who is there", "be careful", "well done", "next please",
)  # fmt: skip
SHARES = {"deed": 5, "remark": 2, "question": 2}


def everyday_sentence(random: Random) -> str:
    """A sentence in lower case without punctuation, no word of it in the vocabulary."""
    while True:
        sentence = _sentence(random)
        if not set(sentence.split()) & set(words()):
            return sentence


def _sentence(random: Random) -> str:
    kind = random.choices(tuple(SHARES), tuple(SHARES.values()))[0]
    if kind == "remark":
        return random.choice(REMARKS)
    place, time = (random.choice(part) if random.random() < 0.6 else "" for part in (PLACES, TIMES))
    said = f"{random.choice(PEOPLE)} {random.choice(DEEDS)} {random.choice(THINGS)} {place} {time}"
    if kind == "question":
        said = f"{random.choice(('they say', 'who said', 'is it true', 'why did you think'))} {said}"
    return " ".join(said.split())


def random_words(random: Random, n: int) -> str:
    """n words that make no sentence. Raises ConfigError without the word list."""
    return " ".join(random.choices(_other_words(WORD_LIST), k=n))


@cache
def _other_words(path: Path) -> tuple[str, ...]:
    try:
        listed = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); install the package wamerican") from None
    return tuple(word for word in listed if is_other(word))


def is_other(word: str) -> bool:
    """Whether a word of the list can be said as other speech: no name, short enough, unlike the vocabulary's words."""
    if not (word.isascii() and word.isalpha() and word.islower() and 3 <= len(word) <= 11) or word in LIKE_OURS:
        return False
    return not any(word == ours or (len(ours) > 2 and ours in word) for ours in words())
