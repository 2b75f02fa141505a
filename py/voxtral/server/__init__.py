"""`voxtral serve`: the page and a transcription API on one port, for people and programs alike."""
