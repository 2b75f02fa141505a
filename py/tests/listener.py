"""Somebody who knows of a transcript only what its additions told, as the page does."""

from dataclasses import replace

from voxtral.decoding import Addition, Word, joined


class Listener:
    """Complete words, and the text of those to come; fails where additions contradict each other."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self.tail = ""

    def take(self, addition: Addition) -> None:
        for revision in addition.revisions:
            last = revision.first + revision.n_replaced
            assert last <= len(self.words)
            self.words[revision.first : last] = _copies(revision.words)
            if revision.reason == "restart":
                self.tail = ""
        self.tail += addition.text
        for word in _copies(addition.words):
            written = f"{' ' if self.words and not word.joins else ''}{word.text}"
            assert self.tail.startswith(written)
            self.tail = self.tail.removeprefix(written)
            self.words.append(word)

    @property
    def text(self) -> str:
        return joined(self.words) + self.tail


def _copies(words: list[Word]) -> list[Word]:
    """As they are sent: a word that changes later must be sent again."""
    return [replace(word, alternatives=list(word.alternatives)) for word in words]
