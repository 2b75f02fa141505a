"""Leaves out “um”, “uh” and words said twice, and begins sentences with a capital again."""

FILLERS = {"um", "umm", "uh", "uhm", "er", "erm", "ah", "hmm", "mhm"}


def process(words, text):
    kept = []
    for word in words:
        spoken = bare(word)
        is_repeated = bool(kept) and spoken == bare(kept[-1]) and word.start - kept[-1].end < 0.5 and spoken.isalpha()
        if spoken not in FILLERS and not (is_repeated and kept[-1].text[-1].isalpha()):
            kept.append(word)
        elif kept and word.text[-1] in ".!?":  # a filler at the end hands its full stop on
            kept[-1].text = kept[-1].text.rstrip(",;") + word.text[-1]
    begins = bool(words) and words[0].text[:1].isupper()
    for word in kept:
        if begins:
            word.text = word.text[:1].upper() + word.text[1:]
        begins = word.text[-1] in ".!?" and text != text.lower()
    return kept


def bare(word):
    """A word without marks and capitals."""
    return word.text.strip(".,;:!?…\"'“”").lower()
