"""The Merkle tree of RFC 9162, section 2.1: roots, and proofs that an entry is in a log and that a log only grew.

A leaf is SHA-256 of a zero byte and the entry, an inner node SHA-256 of a one byte and its two children. A tree of n
leaves splits at the largest power of two under n. Everything here works on leaf hashes, so that a log can be checked by
whoever does not hold its entries. The verifiers take input from strangers: they answer no, and raise nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

__all__ = [
    "HASH_BYTES",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "root",
    "root_of",
    "tally",
    "verify_consistency",
    "verify_inclusion",
]

HASH_BYTES = 32
_MOST_STEPS = 64
"""The longest path that a proof may have: a log holds fewer than 2^64 entries."""


def leaf_hash(data: bytes) -> bytes:
    """Return the Merkle leaf hash of an entry."""
    return sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def root(entries: Iterable[bytes]) -> bytes:
    """Return the Merkle tree hash of a log's entries, SHA-256 of nothing for an empty log."""
    return tally(entries)[1]


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the Merkle tree hash over leaf hashes (RFC 9162, 2.1.1)."""
    return _tallied(leaves)[1]


def tally(entries: Iterable[bytes]) -> tuple[int, bytes]:
    """Return how many entries there are and their root, holding no more than a path of hashes at a time."""
    return _tallied(map(leaf_hash, entries))


def _tallied(leaves: Iterable[bytes]) -> tuple[int, bytes]:
    count, whole = 0, list[bytes]()  # the roots of whole subtrees, the largest first
    for leaf in leaves:
        found, trees = leaf, count
        while trees & 1:
            found, trees = _node(whole.pop(), found), trees >> 1
        whole.append(found)
        count += 1
    if not whole:
        return 0, sha256(b"").digest()
    found = whole.pop()
    while whole:
        found = _node(whole.pop(), found)
    return count, found


def _split(count: int) -> int:
    """Return the largest power of two under `count`, which is 2 or more."""
    return 1 << (count - 1).bit_length() - 1


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the path from leaf `index` to the root, the leaf's sibling first (RFC 9162, 2.1.3.1).

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError("there is no such leaf")
    path: list[bytes] = []
    first, last = 0, len(leaves)
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            path.append(root_of(leaves[middle:last]))
            last = middle
        else:
            path.append(root_of(leaves[first:middle]))
            first = middle
    return path[::-1]


def consistency_proof(leaves: Sequence[bytes], first: int) -> list[bytes]:
    """Return what shows that the tree of the `first` leaves grew into that of all of them (RFC 9162, 2.1.4.1).

    Raises:
        IndexError: `first` is not in 0..len(leaves).
    """
    if not 0 <= first <= len(leaves):
        raise IndexError("a log does not shrink")
    if first in (0, len(leaves)):
        return []
    path: list[bytes] = []
    begin, end, whole = 0, len(leaves), True  # whole: the subtree's hash is the first root, which whoever checks has
    while first != end - begin:
        middle = begin + _split(end - begin)
        if first <= middle - begin:
            path.append(root_of(leaves[middle:end]))
            end = middle
        else:
            path.append(root_of(leaves[begin:middle]))
            first, begin, whole = first - (middle - begin), middle, False
    if not whole:
        path.append(root_of(leaves[begin:end]))
    return path[::-1]


def _hashes(values: Sequence[bytes]) -> bool:
    return len(values) <= _MOST_STEPS and all(type(one) is bytes and len(one) == HASH_BYTES for one in values)


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root_hash: bytes) -> bool:
    """Say whether `path` shows that `leaf` is the leaf `index` (from 0) of the tree of `size` leaves with this root.

    The algorithm of RFC 9162, 2.1.3.2. Anything malformed is answered with no.
    """
    if not (0 <= index < size) or not _hashes([leaf, root_hash]) or not _hashes(path):
        return False
    position, last, found = index, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if position & 1 or position == last:
            found = _node(step, found)
            position, last = _up(position, last)
        else:
            found = _node(found, step)
        position, last = position >> 1, last >> 1
    return last == 0 and found == root_hash


def verify_consistency(first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Say whether `path` shows that the tree of `first` leaves grew into that of `second` leaves.

    The algorithm of RFC 9162, 2.1.4.2. An empty tree, whose root is SHA-256 of nothing, grows into any. Anything
    malformed is answered with no.
    """
    if not 0 <= first <= second or not _hashes([first_root, second_root]) or not _hashes(path):
        return False
    if first == second:
        return not path and first_root == second_root
    if first == 0:
        return not path and first_root == root_of(())
    steps = [first_root, *path] if first & (first - 1) == 0 else list(path)
    if not steps:
        return False
    position, last = _while(first - 1, second - 1, lambda position: position & 1)
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            before, after = _node(step, before), _node(step, after)
            position, last = _up(position, last)
        else:
            after = _node(after, step)
        position, last = position >> 1, last >> 1
    return last == 0 and before == first_root and after == second_root


def _up(position: int, last: int) -> tuple[int, int]:
    """Pass the levels at which a rightmost node has no sibling."""
    return _while(position, last, lambda position: position != 0 and not position & 1)


def _while(position: int, last: int, holds: Callable[[int], object]) -> tuple[int, int]:
    while holds(position):
        position, last = position >> 1, last >> 1
    return position, last
