"""Change it as you like: what `process` returns is the new text."""

# Pure Python packages come with a line such as “# packages: https://…/name-1.0-py3-none-any.whl”, without the quotes.
# They run with the rights of this page: take them from where you would take them for your own machine.


def process(words, text):
    unsure = [word.text for word in words if word.probability < 0.5]
    print("Unsure:", ", ".join(unsure) or "nothing")
    return text
