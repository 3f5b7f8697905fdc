"""What comes back, and what it says.

::

    commands    `entrenous collect`, `entrenous evaluate`, `entrenous learn`
    collector   receives reports over HTTP                       (I/O)
    warehouse   keeps them in a DuckDB file                      (I/O)
    answer      from reports to lifts, money and warnings        (pure)
    learning    from rounds of reports to a proposal             (pure)
    statistics  from noised sums to intervals                    (pure)
    dashboard   the answer as one offline page                   spoken   as text and JSON
"""
