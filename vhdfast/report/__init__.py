"""What is told about images in files of its own: pictures.

Layout is computed once (`plot_layout`), in numbers that tests can look at; a module for each file
type draws it.
"""
