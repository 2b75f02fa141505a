"""Measures a loaded model, in the page's worker and natively alike: one report, plain JSON, and one text of it.

report      what there is to tell: `measure(subject, machine, effort, tell)`; fields and units
rendering   the same as text
effort      how long and how often, by what the device can do
timer       times programs of a backend; best of several passes on a warm device
bandwidth   how fast this device copies
kernels     each operation at the shapes of the loaded model, over all its layers' weights
steps       decoder steps, encoder calls, who spends the time of a step, a minute of sound
speech      sound to measure with
"""
