"""Writes names and terms your way, whatever was heard."""

import re

GLOSSARY = {
    "smart mirror": "SmartMirror",
    "alexa": "Alexa",
    "jarvis": "Jarvis",
    "vox troll": "Voxtral",
}


def process(words, text):
    for heard, wanted in GLOSSARY.items():
        text = re.sub(rf"\b{re.escape(heard)}\b", wanted, text, flags=re.IGNORECASE)
    return text
