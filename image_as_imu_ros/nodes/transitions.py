"""What rclpy leaves out about lifecycle transitions: errors in the log, and an answer to impossible requests."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

N = TypeVar("N", bound=LifecycleNode)
Transition = Callable[[N, LifecycleState], TransitionCallbackReturn]


def logging_errors(transition: Transition[N]) -> Transition[N]:
    """Log the exception of a transition: rclpy turns it into ERROR without a word."""

    @wraps(transition)
    def logged(node: N, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            if node.context.ok():  # else it was interrupted
                node.get_logger().error(f"{transition.__name__} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return logged


def answer_impossible_transitions(node: LifecycleNode) -> None:
    """Answer requests for a transition that the state does not allow: rclpy raises, which would end the process."""
    service: Any = node._service_change_state
    change_state = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RuntimeError as error:
            node.get_logger().warning(f"transition refused: {error}")
            response.success = False
            return response

    service.callback = answer
