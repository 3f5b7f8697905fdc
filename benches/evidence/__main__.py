"""`python -m benches.evidence`: every longer proof, one after the other; those whose data is absent say so."""

from __future__ import annotations

from importlib.util import find_spec

from benches.evidence import compact, features, learning, off_policy, parity, recommend, shoppers, uplift


def main() -> None:
    """Run them all."""
    features.main()
    parity.main()
    learning.main()
    for name, there, run, lacking in (
        ("uplift", uplift.DATA.is_dir(), uplift.main, "the folder that ENTRENOUS_DATA names"),
        ("recommend", recommend.DATA.is_dir(), recommend.main, "the folder that ENTRENOUS_DATA names"),
        ("shoppers", shoppers.TABLE.is_file(), shoppers.main, "the folder that ENTRENOUS_DATA names"),
        ("compact", shoppers.TABLE.is_file(), compact.main, "the folder that ENTRENOUS_DATA names"),
        ("off_policy", find_spec("obp") is not None, off_policy.main, "pip install --no-deps obp==0.4.1"),
    ):
        if there:
            run()
        else:
            print(f"{name}: left as it is, needs {lacking}")


if __name__ == "__main__":
    main()
