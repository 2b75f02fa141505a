"""What serves the page without knowing HTTP servers: places, runtime, site, responses, wheel, precache, export.

Standard library only: `python3 serve.py` runs before anything is installed. Not in the wheel that Pyodide loads.
"""
