"""The signed road from the publisher to the runtime, at the runtime's end.

::

    refresh    one visit to a repository: lock, fetch, verify, keep            (I/O)
    retained   what is kept on disk, and the pair that serves from it          (I/O)
    fetch      where the files come from: a directory or HTTPS, within limits  (I/O)
    verify     every rule that TUF leaves to us                                (pure)

Nothing here is imported by `import entrenous`: a program that never updates never loads a TUF client.
"""
