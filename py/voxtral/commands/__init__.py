"""The commands of `voxtral`, one a module: its options, and what it does. `cli` puts them together."""
