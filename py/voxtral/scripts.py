"""Writing systems, as far as words need them: where one ends without a space, how long it takes to say.

Chinese and Japanese are written without spaces; there a `[STREAMING_WORD]` marker tells words apart. Everywhere else
text that goes on without a space goes on with the word, so that no mark is ever parted from its letter.
"""

SECONDS_PER_CHARACTER = 0.07  # of an unhurried speaker
SECONDS_PER_SYLLABLE = 0.16  # of a Han, Kana or Hangul character
SHORTEST_WORD_S = 0.12

NON_BREAKING = "\u00a0\u2007\u202f"  # spaces that belong to the word they stand in, such as "10 000"
SPACED_PUNCTUATION = "?!:;%"  # what French puts a space before
CLAUSE_ENDS = "、。，！？；"  # of full width: what follows is another word, marker or not
CLOSING = CLAUSE_ENDS + "．：）」』》〉】〕”’…～・·"
OPENING = "（「『《〈【〔“‘"
# Marks that lengthen, repeat or soften the character before them.
NEVER_FIRST = "ーゝゞヽヾ々ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ\u3099\u309a"
UNSPACED = (
    (0x3005, 0x3007),  # 々〆〇
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # small Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9D),  # narrow Katakana
    (0x20000, 0x3FFFF),
)
HANGUL = (0xAC00, 0xD7A3)


def is_separator(character: str) -> bool:
    """Whether words end at this character, which belongs to none."""
    return character.isspace() and character not in NON_BREAKING


def is_unspaced(character: str) -> bool:
    """Whether it is Han or Kana."""
    code = ord(character)
    return any(first <= code <= last for first, last in UNSPACED)


def begins_word(before: str, character: str, is_marked: bool) -> bool:
    """Whether a word begins with `character` right behind `before`, without a space; is_marked: at a marker."""
    if character in NEVER_FIRST or character in CLOSING or before in OPENING:
        return False
    if not is_marked and before not in CLAUSE_ENDS:
        return False
    if is_unspaced(character) or character in OPENING:
        return is_unspaced(before) or before in CLOSING or before.isalnum()
    return (is_unspaced(before) or before in CLAUSE_ENDS) and character.isalnum()


def spoken_s(text: str) -> float:
    """About how long it takes to say a word, in seconds."""
    n_syllables = sum(is_unspaced(character) or HANGUL[0] <= ord(character) <= HANGUL[1] for character in text)
    seconds = SECONDS_PER_SYLLABLE * n_syllables + SECONDS_PER_CHARACTER * (len(text) - n_syllables)
    return max(SHORTEST_WORD_S, seconds)
