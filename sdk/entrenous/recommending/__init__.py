"""Recommendation: lists of items, made where the visitor is.

::

    item_table   what is looked at after what
    catalogue    items, their attributes, and which are popular
    strategy     how a list is made, as a manifest states it
    rank         the list, from what is known of a visit
    shelves      a decision's tables and rules, compiled with the bundle
    serving      one visitor's list

What an app hands over of a visit is used for one answer and kept nowhere.
"""

from __future__ import annotations
