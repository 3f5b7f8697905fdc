"""Personalisation that stays between a shop and its visitor."""
