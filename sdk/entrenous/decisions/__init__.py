"""Decisions: what a bundle declares, who gets which arm, and what a payload may say.

- `form`: a decision as the manifest states it. `offers`: promotions and their guards. `payloads`: what no payload says.
- `draws`: which side of an experiment a visitor is on, and their place among its arms.
- `routes`: one decision for one consent pattern, compiled.
"""
