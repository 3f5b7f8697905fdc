"""Learning from aggregates: from the noised sums of reports to a proposal that a person reads, changes and signs.

::

    metrics     the mean of each cell, noise in its variance         effects     what tells arms apart, on a tree
    posteriors  a mean and a deviation for every tranche and arm     shares      how likely each arm is the best
    promotions  offers: test, run, and the guards that bind both     proposal    what to change, and why
    settings    how to learn, from a file                            reading     from a bundle and from reports
    wording     why, in English and French                           written     the proposal as text and TOML

Values in, values out. Nothing here sees a visitor, draws anything by chance, or changes what serves.
"""
