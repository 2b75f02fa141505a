"""Writes English numbers as digits: “twenty-one thousand and five” becomes “21005”."""

import re

SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
LARGE = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
JOINTS = ("hundred", "and")
VALUES = {name: value for value, name in enumerate(SMALL)} | {name: 10 * i for i, name in enumerate(TENS, 2)}


def process(words, text):
    made = []
    i = 0
    while i < len(words):
        word, n = words[i], length_of_number(words, i)
        if n:
            last = words[i + n - 1]
            before, after = re.match(r"\W*", word.text).group(), re.search(r"\W*$", last.text).group()
            word.text = f"{before}{value_of(names_in(words[i : i + n]))}{after}"
            word.end = last.end
        made.append(word)
        i += max(1, n)
    return made


def length_of_number(words, first):
    """How many words from there on are one number; 0 when something else is there."""
    longest = 0
    for n, word in enumerate(words[first : first + 20], 1):
        names = names_in([word])
        if not names or any(name not in VALUES and name not in LARGE and name not in JOINTS for name in names):
            break
        if value_of(names_in(words[first : first + n])) is not None:
            longest = n
        if not word.text[-1].isalpha():
            break  # a comma ends it
    return longest


def names_in(words):
    """The parts of words: “twenty-one,” has two."""
    return [name for word in words for name in re.findall(r"[^\W_]+", word.text.lower())]


def value_of(names):
    """What number words mean, or None when they are not one number, such as “one two” or “hundred and”."""
    total, group, last, room = 0, 0, None, 10**12
    for name in names:
        if name == "and":
            if last not in ("hundred", *LARGE):
                return None
        elif name in VALUES:
            is_after_tens = last in TENS and 0 < VALUES[name] < 10
            if (last in VALUES and not is_after_tens) or (name == "zero" and last):
                return None
            group += VALUES[name]
        elif name == "hundred":
            if last not in VALUES or not 0 < group < 10:
                return None
            group *= 100
        else:
            if not group or LARGE[name] >= room:
                return None
            total, group, room = total + group * LARGE[name], 0, LARGE[name]
        last = name
    return None if last in (None, "and") else total + group
