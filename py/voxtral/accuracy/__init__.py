"""How well a model hears: recordings with transcripts, through the engine, to a report with word errors and latencies.

sets            what a folder of recordings and transcripts holds; tables: its .tsv and .csv files
recordings      the sound of its clips, on this machine
normalization   what counts as the same text
scoring         hits, substitutions, deletions, insertions (jiwer)
latency         when a word was there, against when it was over
results         what was measured of one clip
summary         of many: rates with their intervals, and differences of two runs
report          everything of one run as JSON
rendering       that as text
run             clips through a loaded model
conditions      what is done to the sound first, how the model listens, to which clips

desk            the worker's requests about sets and reports; measurement: a run that the page asks for
modules         packages that the page brings when they are needed
fields          values out of a file that anybody may have written

factors         what an ablation varies: padding, silence, level, normalisation, delay
ablation        what was heard under every combination, as JSON
effects         rates, differences and what follows from them; ablation_rendering: as Markdown
"""
