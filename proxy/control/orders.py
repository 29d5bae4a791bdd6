"""Orders of operators on their way: each is answered in time, or dropped before it is begun."""

import asyncio
import itertools
from collections.abc import Callable, Mapping

from proxy.control.steering import Order
from proxy.control.world import Event, Ordered
from proxy.store.state import StoreError

ORDER_S = 8.0  # an order is done within
MAX_ORDERS = 100


class Orders:
    """Those that wait for their answer. `submit` has them decided upon."""

    def __init__(self, submit: Callable[[Event], None]) -> None:
        self._submit = submit
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[str]] = {}

    async def carry_out(self, route: str, order: Order, problem: Callable[[], str | None]) -> str:
        """The refusal, empty where it was done. Raises StoreError, with the problem there is."""
        if len(self._answers) >= MAX_ORDERS:
            return "too many orders are under way"
        number = next(self._numbers)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._submit(Ordered(number, route, order))
        try:
            async with asyncio.timeout(ORDER_S):
                return await answer
        except TimeoutError:
            raise StoreError(
                f"not done within {ORDER_S:g} s: {problem() or 'the state store is busy'}"
            ) from None
        finally:
            del self._answers[number]

    def is_wanted(self, event: Event) -> bool:
        """Not an order whose operator was told that it could not be done."""
        return not isinstance(event, Ordered) or event.number in self._answers

    def answered(self, answers: Mapping[int, str]) -> None:
        """These were decided upon: by number the refusal, empty where it was done."""
        for number, refusal in answers.items():
            answer = self._answers.get(number)
            if answer is not None and not answer.done():
                answer.set_result(refusal)
