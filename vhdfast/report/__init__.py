"""What was found, as people and programs read it: one module a form.

A picture's layout is computed once (`plot_layout`), in numbers that tests can look at; a module for
each kind of file draws it.
"""
