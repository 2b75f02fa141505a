"""How well a model hears: recordings with transcripts, through the engine, to a report with word errors and latencies.

sets            what a folder of recordings and transcripts holds
recordings      the sound of its clips, on this machine
normalization   what counts as the same text
scoring         hits, substitutions, deletions, insertions (jiwer)
latency         when a word was there, against when it was over
results         what was measured of one clip
summary         of many: rates with their intervals, and differences of two runs
report          everything of one run as JSON
rendering       that as text
run             clips through a loaded model
"""
