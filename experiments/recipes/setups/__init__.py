"""What several recipes share, one setup a file: its source and deviations in the docstring, and options as dicts.

A recipe takes the options of its setup and says those of its own, `options=dict(lab.BINARY, scale="layer")`. It numbers
its deviations after those of the setup.
"""
