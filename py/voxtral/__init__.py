"""Voxtral Realtime speech recognition: streaming, in a browser tab or on a native GPU."""
