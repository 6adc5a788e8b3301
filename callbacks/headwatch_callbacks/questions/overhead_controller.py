"""How much of each pass a training can pay for: numbers in, a plan out; knows no trainer and no clock.

A pass is first made cheaper by fewer exact runs, then by fewer pairs, and then it is skipped. It is never less than
what gives an interval: 4 exact runs a head, on 8 pairs.
"""

from dataclasses import dataclass
from typing import final

from headwatch_callbacks.questions.pass_plan import LEAST_PAIRS, Plan, Spare

CALM_PAIRS = 32  # while nothing changes, a pass is skipped rather than made of fewer
_PLANNED = 0.95  # of what may be spent
_SLOWER = 1.2  # times the slowest of the last passes; what isn't needed of it is spent later
_REMEMBERED = 5  # passes


@dataclass(frozen=True)
class Situation:
    """Where a training stands when a pass is due.

    Attributes:
        trained: seconds of training so far, passes not counted.
        spent: seconds that this probe's passes took so far.
        step: optimizer steps taken.
        last_step: how many there will be; None where nobody knows.
        is_last: whether no other pass follows.
        turn: for passes that are not spread evenly over the training, the share of them that are due up to this one.
    """

    trained: float
    spent: float
    step: int
    last_step: int | None = None
    is_last: bool = False
    turn: float | None = None


@final
class OverheadController:
    """Keeps what passes take to a share of the training time, by the time that passes and training steps took so far.

    The first pass, of which nothing is known yet, is the least there is; later ones make up for it. A pass other than
    the last takes at most half of what is left to spend until the end, so that there is something for the last one.

    Args:
        limit: passes' share of the training time.
        spare: what the question can do without.

    Attributes:
        changing: whether heads changed by more than noise between the last two passes; None before there were two.
            Where they did, passes are made of fewer pairs, down to 8, rather than skipped.
    """

    def __init__(self, limit: float, spare: Spare) -> None:
        self._limit, self._spare = _PLANNED * limit, spare
        self._levels = spare.levels or (1,)
        self._first: float | None = None  # seconds of the exact sweep of one pair, by the first pass
        self._rates: list[float] = []  # and by later ones
        self._rate, self._overrun = 0.0, 0.0
        self._before: tuple[int, float] | None = None
        self._began: tuple[int, float] | None = None
        self.changing: bool | None = None

    def plan(self, at: Situation) -> Plan | None:
        """How much of the pass that is due is asked; None where it is skipped."""
        allowance, income = self._allowance(at), self._income(at)
        self._began, self._before = self._began or (at.step, at.trained), (at.step, at.trained)
        if self._first is None:
            return self._least_of_all
        self._rate = self._expected_rate(self._first, at)
        if self.changing and not at.is_last:
            least = self._cost(self._least_of_all)
            allowance = min(allowance, max(least, allowance + income - least))
        return self._best(allowance, self._fewest_pairs(at))

    def learn(self, plan: Plan, seconds: float, share: float) -> None:
        """What a pass took.

        Args:
            plan: what was asked.
            seconds: how long it took.
            share: of the exact sweep on as many pairs, by the clock; of several estimates all together.
        """
        rate = seconds / (self._pairs(plan) * share)
        if self._first is None:
            self._first = rate
        else:
            self._rates = [*self._rates, rate][-_REMEMBERED:]
        if plan.budget is not None:
            self._overrun = max(share / self._spare.n_estimates - plan.budget, 0.0)

    def _allowance(self, at: Situation) -> float:
        """Seconds that the pass may take."""
        end = self._end(at)
        earned = at.trained if at.turn is None or end is None else end * at.turn
        left = self._limit * earned - at.spent
        if end is None or at.is_last:
            return left
        return min(left, (self._limit * end - at.spent) / 2)

    def _end(self, at: Situation) -> float | None:
        """Seconds of training until the end, at the lower of the speeds since the beginning and since the last pass."""
        if at.last_step is None or self._began is None or self._before is None:
            return None
        since = [
            (at.trained - trained) / (at.step - step)
            for step, trained in (self._began, self._before)
            if at.step > step
        ]
        return at.trained + min(since) * max(at.last_step - at.step, 0) if since else None

    def _income(self, at: Situation) -> float:
        """Seconds that came in since a pass was last due, and will come in until the next."""
        return 0.0 if self._before is None else self._limit * (at.trained - self._before[1])

    def _fewest_pairs(self, at: Situation) -> int:
        calm = self.changing is False and not at.is_last
        return min(CALM_PAIRS if calm else LEAST_PAIRS, self._levels[0])

    def _best(self, allowance: float, fewest: int) -> Plan | None:
        """The most that can be paid for."""
        if self._cost(Plan()) <= allowance:
            return Plan()
        for place, n_pairs in enumerate(self._levels):
            if n_pairs < fewest:
                break
            plan = self._least(place)
            if self._cost(plan) <= allowance:
                return self._with_budget(plan, allowance)
        return None

    def _with_budget(self, plan: Plan, allowance: float) -> Plan:
        """As many exact runs as can be paid for."""
        if plan.budget is None:
            return plan
        of_one = self._rate * self._pairs(plan) * self._spare.n_estimates
        affordable = min(allowance / of_one - self._overrun, 1.0)
        if len(self._spare.levels) and plan.n_pairs is None:
            affordable = min(affordable, self._spare.whole / self._spare.n_estimates)
        return Plan(plan.n_pairs, max(plan.budget, affordable))

    @property
    def _least_of_all(self) -> Plan:
        return self._least(len(self._levels) - 1)

    def _least(self, place: int) -> Plan:
        """The cheapest pass on one of the numbers of pairs."""
        n_pairs = self._levels[place] if place else None
        return Plan(n_pairs, self._spare.least[place] if self._spare.least else None)

    def _cost(self, plan: Plan) -> float:
        """Seconds that a pass is expected to take."""
        if plan.budget is not None:
            share = (plan.budget + self._overrun) * self._spare.n_estimates
        else:
            share = self._spare.whole if plan.n_pairs is None else 1.0
        return self._rate * self._pairs(plan) * share

    def _pairs(self, plan: Plan) -> int:
        return self._levels[0] if plan.n_pairs is None else plan.n_pairs

    def _expected_rate(self, first: float, at: Situation) -> float:
        """Seconds of the exact sweep of one pair, with a margin that is larger where few passes were timed.

        The first pass, which takes longer by what is done only once, counts until another was timed.
        """
        if not self._rates:
            return (_SLOWER + at.is_last) * first
        return (_SLOWER + 1 / len(self._rates)) * max(self._rates)
