"""The same decisions for OpenFeature users: `openfeature.api.set_provider(Provider(client))` (extra `openfeature`).

A decision is a flag. String, boolean, integer and float flags answer the arm's value, object flags its payload; the
variant is the arm. The targeting key is the visitor's identifier; of the other attributes, those that the bundle knows
become the decision's context and the rest is not looked at. `track` takes in an event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

try:
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.exception import ErrorCode
    from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType
    from openfeature.provider import AbstractProvider, Metadata
    from openfeature.track import TrackingEventDetails
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("entrenous.openfeature needs: pip install 'entrenous[openfeature]'") from error

from entrenous.client import Client
from entrenous.decision import Decision

__all__ = ["Provider"]

T = TypeVar("T")

_ERRORS = {
    "unknown_decision": ErrorCode.FLAG_NOT_FOUND,
    "bad_identifier": ErrorCode.TARGETING_KEY_MISSING,
    "bad_context": ErrorCode.INVALID_CONTEXT,
}


class Provider(AbstractProvider):
    """An OpenFeature provider on a `Client`, which stays the caller's to close."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return Metadata(name="entrenous")

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Resolve an arm whose value is a boolean."""
        return self._resolve(flag_key, default_value, evaluation_context, lambda value: isinstance(value, bool))

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Resolve an arm whose value is text."""
        return self._resolve(flag_key, default_value, evaluation_context, lambda value: isinstance(value, str))

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Resolve an arm whose value is an integer."""
        return self._resolve(flag_key, default_value, evaluation_context, lambda value: type(value) is int)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Resolve an arm whose value is a number."""
        return self._resolve(flag_key, default_value, evaluation_context, lambda value: type(value) in (int, float))

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Resolve an arm's payload; the default where the arm shows nothing."""
        decision = self._decide(flag_key, default_value, evaluation_context)
        payload = decision.payload
        return _details(decision, default_value if payload is None else payload)

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Take in an event; its attributes are the event's properties."""
        attributes: Mapping[str, Any] = tracking_event_details.attributes if tracking_event_details else {}
        self._client.visitor(_key(evaluation_context)).observe_all([{**attributes, "name": tracking_event_name}])

    def _decide(self, flag: str, default: Any, context: EvaluationContext | None) -> Decision:
        attributes = context.attributes if context else {}
        known = {key: attributes[key] for key in self._client.context_keys & attributes.keys()}
        return self._client.visitor(_key(context)).decide(flag, default, known)

    def _resolve(
        self, flag: str, default: T, context: EvaluationContext | None, fits: Callable[[Any], bool]
    ) -> FlagResolutionDetails[T]:
        decision = self._decide(flag, default, context)
        if decision.receipt is not None and not fits(decision.value):
            return FlagResolutionDetails(
                default,
                error_code=ErrorCode.TYPE_MISMATCH,
                error_message="the arm's value is of another type",
                reason="ERROR",
            )
        return _details(decision, decision.value)


def _key(context: EvaluationContext | None) -> str:
    return (context.targeting_key if context else None) or ""


def _details(decision: Decision, value: Any) -> FlagResolutionDetails[Any]:
    metadata: dict[str, bool | int | float | str] = {"cause": decision.cause} if decision.cause else {}
    if decision.tranche:
        metadata["tranche"] = decision.tranche
    if decision.receipt:
        metadata |= {"receipt": f"{decision.receipt.id:016x}", "bundle": decision.receipt.basis.bundle}
    failed = decision.reason == "ERROR"
    return FlagResolutionDetails(
        value,
        error_code=_ERRORS.get(decision.cause, ErrorCode.GENERAL) if failed else None,
        error_message=decision.cause if failed else None,
        reason=decision.reason,
        variant=decision.arm or None,
        flag_metadata=metadata,
    )
