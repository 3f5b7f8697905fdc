"""The edge worker: the SDK behind HTTP.

::

    commands   `entrenous serve`, `entrenous token`
    serve      two servers in one process: the public port and the admin port      (I/O)
    config     the operator's TOML
    app        the public routes            admin      metrics, updates, releases
    identity   who is asking, and what that proves (`entrenous.tokens` signs for the shop's backend)
    bodies     JSON in, strictly            answers    JSON out, and the one table of errors
    metrics    counters without labels of anybody
"""
