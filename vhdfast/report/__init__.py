"""What was found, as people and programs read it: reports of checks, and pictures of maps.

Of a picture the layout is computed once (`plot_layout`), in numbers that tests can look at; a module
for each file type draws it.
"""
