"""The study: every method in every order with every seed, side by side, on one's own data. It trains nothing itself.

variant.py: a method with its options, by name. grid.py: what there is to do, and what of it the stores already hold.
work.py: one piece of work, in a process of its own. conduct.py: who works when, and the live table. results.py: the
paper's figures from what was measured; written.py, tables.py and figures.py put them down.
"""
