"""Fits what a buyer is still worth: BG/NBD and Gamma-Gamma, on the shop's own orders, centrally.

What comes out is a handful of numbers (`entrenous.features.lifetime.Lifetime`) that a declared feature carries; a
device evaluates them in closed form for its own visitor.
"""

from entrenous_exporters.lifetime.fitting import Fit, Parameter
from entrenous_exporters.lifetime.histories import Histories, Spending, parse_histories, parse_spending
from entrenous_exporters.lifetime.holdout import Holdout, check_holdout
from entrenous_exporters.lifetime.models import as_lifetime, fit_purchases, fit_values
from entrenous_exporters.lifetime.orders import Orders, read_orders

__all__ = [
    "Fit",
    "Histories",
    "Holdout",
    "Orders",
    "Parameter",
    "Spending",
    "as_lifetime",
    "check_holdout",
    "fit_purchases",
    "fit_values",
    "parse_histories",
    "parse_spending",
    "read_orders",
]
