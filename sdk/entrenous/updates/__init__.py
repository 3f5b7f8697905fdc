"""The signed road from the publisher to the runtime, at the runtime's end.

::

    refresh    one visit to a repository: lock, fetch, verify, keep            (I/O)
    retained   what is kept on disk, and the pair that serves from it          (I/O)
    bounded    a source as the TUF client takes it, within limits              (I/O)
    fetch      where the files come from: a directory, HTTPS or memory         (I/O)
    layout     how a repository is laid out                                    (pure)
    verify     every rule that TUF leaves to us                                (pure)
    deployment what is built into an installation                              (pure)

`refresh`, `bounded` and `layout` load a TUF client; `import entrenous` imports none of them.
"""
