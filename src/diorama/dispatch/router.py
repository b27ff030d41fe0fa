"""Router: request, who answers, outcome.  The one loop to read is `settle`.

Handlers form a chain, the one registered last outermost, the file tree (`add_base`) innermost, the kernel
at the end.  A handler's outcome is None (go on inwards), a request (go on inwards with that), a descriptor
to give to the program, or a result. `call.run()` inside a handler walks the rest of the chain there and
then.

Everything here runs on guardians, several at once.  The chain is immutable while programs run; what a handler
shares between tracees is its own to lock.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Union

from diorama.abi.arch import Abi
from diorama.engine.held import Descriptor
from diorama.engine.tracee import Tracee
from diorama.errors import TraceeDied, Unsupported, errno_of, warn_once

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from diorama.catalogue.forms import Args, Spelling
    from diorama.catalogue.model import Request
    from diorama.dispatch.subscription import Handler, Subscription, Tests
    from diorama.engine.filter import Alternatives
    from diorama.engine.held import Held
    from diorama.engine.rules import Rules, Test


_CLOSED = "the program has closed its memory (PR_SET_DUMPABLE), so its paths cannot be read"


class Observer(Protocol):
    """Told of what happens to tasks, on their guardians; `wants_signals` asks for `signalled`."""

    wants_signals: bool

    def cloned(self, parent: Tracee, child: Tracee, flags: int) -> None:
        """A task was made and has not run yet."""

    def executed(self, tracee: Tracee) -> None:
        """A task runs a new program."""

    def signalled(self, tracee: Tracee, sig: int) -> None:
        """A signal is being delivered."""

    def exited(self, tracee: Tracee, status: int) -> None:
        """A task ended with this wait status, -1 if unknown."""


Decided = Union[int, Descriptor, "Request"]
Watcher = Callable[["Tracee", "Request", Callable[[], Decided]], Decided]
"""Has a call of a tracee decided, and tells of it."""


class Base(Protocol):
    """The innermost answer: what the view itself virtualises."""

    def requests(self, *, tells_clones: bool) -> frozenset[type[Request]]:
        """What it must be asked about, by an engine that tells of clones and execs unasked, or does not."""
        ...

    @property
    def tests(self) -> Tests:
        """What must hold of an argument for a request to concern it."""
        ...

    def rooted(self, tracee: Tracee) -> None:
        """The first task of a program."""

    def found(self, tracee: Tracee) -> None:
        """A task that was there already: what clones inherit is as it was when programs began."""

    def cloned(self, parent: Tracee, child: Tracee, flags: int) -> None:
        """As `Observer.cloned`."""

    def executed(self, tracee: Tracee) -> None:
        """As `Observer.executed`."""

    def exited(self, tracee: Tracee) -> None:
        """A task ended."""

    def answer(self, call: Any) -> int | Descriptor | Request | None:
        """As a handler."""

    def unread(self, spelling: Spelling, args: Args, tracee: Tracee, error: OSError) -> None:
        """What a call points at cannot be read: raise that, if the kernel would say another thing."""


class Inner(Protocol):
    """Who is asked after all handlers and before the base, about what it lets through."""

    @property
    def decides(self) -> bool | frozenset[type[Request]]:
        """Whether the native library may settle its requests (`diorama.dispatch.settling`), or which."""
        ...

    def requests(self) -> frozenset[type[Request]]:
        """What it must be asked about; nothing, if there is nothing for it."""
        ...

    @property
    def tests(self) -> Tests:
        """As `Base.tests`."""
        ...

    def answer(self, call: Any) -> int | Descriptor | Request | None:
        """As a handler."""


class Link(NamedTuple):
    """A place in the chain of a call: who may be asked, and whether the call as it was made concerns him."""

    subscription: Subscription
    matches: bool


class Execution:
    """A request being decided: what lies further in, and the call that is held for it."""

    __slots__ = ("_chain", "_held", "_original", "result", "tracee")

    def __init__(self, held: Held, chain: Sequence[Link], original: Request) -> None:
        self.tracee = held.tracee
        self.result: int | None = None
        self._held = held
        self._chain = chain
        self._original = original

    def run(self, request: Request) -> int:
        """Let the rest of the chain and the kernel have the request; its result, or `OSError`."""
        try:
            outcome = settle(self._held, self._chain, request, self._original)
            if isinstance(outcome, Descriptor):
                outcome = outcome.give_now(self.tracee)
            if not isinstance(outcome, int):
                outcome = self._held.run(*outcome.encode(self.tracee.abi, self.tracee.memory))
        except OSError as error:
            self.result = -(errno_of(error))
            raise
        self.result = outcome
        return outcome


def settle(
    held: Held, chain: Sequence[Link], request: Request, original: Request
) -> int | Descriptor | Request:
    """Ask handlers from the outside in: a result, or what the kernel is to run.

    For the `original` request the native library has settled the predicates; one that a handler made
    instead must not slip past the handlers further in, nor reach those that did not ask for it.
    """
    for index, (subscription, matches) in enumerate(chain):
        if not (matches if request is original else subscription.admits(request)):
            continue
        execution = Execution(held, chain[index + 1 :], original)
        call = request
        if request is original and not request.is_bound:
            request.bind(execution)  # spares a copy of what has just been decoded
        else:
            call = request.bound(execution)
        outcome = subscription.handler(call)
        if outcome is None:
            if execution.result is not None:
                return execution.result
        elif isinstance(outcome, int):
            return int(outcome)
        elif isinstance(outcome, Descriptor):
            return outcome
        else:
            request = outcome
    return request


def _constant(value: int) -> Handler:
    def answer(_call: Request) -> int:
        if -4096 < value < 0:
            raise OSError(-value, os.strerror(-value))
        return value

    return answer


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


class Router:
    """The hooks of the engine: finds the handlers of a call and turns their outcome into an answer."""

    def __init__(self, *, strict: bool, on_failure: Callable[[], None]) -> None:
        self.observers: list[Observer] = []
        self.tracees: set[Tracee] = set()
        self.changed = False
        self.watcher: Watcher | None = None
        self._strict = strict
        self._on_failure = on_failure
        self._subscriptions: list[Subscription] = []
        self._base: Base | None = None
        self._inner: list[Inner] = []
        self._chains: dict[tuple[int, int], list[Subscription]] = {}
        self._tests: dict[tuple[int, int], list[tuple[Test, ...]]] = {}
        self._unsettled: set[tuple[int, int]] = set()
        self._chosen: dict[tuple[int, int, int], tuple[list[Link], Spelling, bool]] = {}
        self._all: list[Subscription] = []

    # -- what is wanted -----------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Nothing is handled and nobody watches."""
        return not (self._subscriptions or self._base or self.observers)

    def add(
        self,
        handler: Handler,
        names: tuple[str, ...],
        *,
        path: str | bytes | None,
        arguments: Mapping[str, int],
    ) -> None:
        """Register a handler; outermost from now on."""
        from diorama.dispatch.subscription import subscribe

        self._subscriptions.append(subscribe(handler, names, path, arguments))
        self.changed = True

    def add_answer(
        self,
        value: int,
        names: tuple[str, ...],
        *,
        path: str | bytes | None,
        arguments: Mapping[str, int],
    ) -> None:
        """Register an answer that is always the same, -errno for an error; outermost from now on."""
        from diorama.dispatch.subscription import subscribe

        self._subscriptions.append(subscribe(_constant(value), names, path, arguments, fixed=value))
        self.changed = True

    @property
    def has_handlers(self) -> bool:
        """Whether somebody registered a function, rather than an answer."""
        return any(one.fixed is None for one in self._subscriptions)

    def add_base(self, base: Base) -> None:
        """Register what the view itself virtualises."""
        self._base = base
        self.changed = True

    def add_inner(self, inner: Inner) -> None:
        """Register who is asked before the base, and before those registered so far."""
        self._inner.insert(0, inner)
        self.changed = True

    def compile(self, *, tells_clones: bool = True) -> Rules:
        """The rule table of all handlers; also fixes the chains that calls are given to."""
        from diorama.catalogue import index
        from diorama.engine.rules import Rules

        chain = self._chain(tells_clones)
        rules = [rule for number, one in enumerate(chain) for rule in one.rules(number)]
        self._all = chain
        self._chains = {}
        self._tests = {}
        self._chosen = {}
        for rule in sorted(rules, key=lambda rule: rule.id):
            self._chains.setdefault((rule.abi, rule.nr), []).append(chain[rule.id])
            self._tests.setdefault((rule.abi, rule.nr), []).append(rule.tests)
            spelling = index.spelling(Abi.of_audit(rule.abi), rule.nr)
            if spelling is not None and not chain[rule.id].is_settled_by(spelling):
                self._unsettled.add((rule.abi, rule.nr))
        self.changed = False
        return Rules(rules)

    def wanted(self) -> dict[Abi, Iterable[int]]:
        """The numbers to stop at, for the filter."""
        wanted: dict[Abi, list[int]] = {}
        for audit, nr in self._chains:
            wanted.setdefault(Abi.of_audit(audit), []).append(nr)
        return {abi: sorted(numbers) for abi, numbers in wanted.items()}

    def conditions(self) -> dict[Abi, dict[int, Alternatives]]:
        """The numbers of `wanted` that are wanted with certain arguments only, and with which."""
        found: dict[Abi, dict[int, Alternatives]] = {}
        for (audit, nr), alternatives in self._tests.items():
            if all(alternatives):
                found.setdefault(Abi.of_audit(audit), {})[nr] = tuple(alternatives)
        return found

    def _chain(self, tells_clones: bool) -> list[Subscription]:
        from diorama.dispatch.subscription import Subscription

        chain = self._subscriptions[::-1]
        for inner in self._inner:
            requests, decides = inner.requests(), inner.decides
            which = decides if isinstance(decides, frozenset) else requests if decides else frozenset[Any]()
            settled = requests & which
            for part, is_settled in ((settled, True), (requests - settled, False)):
                if part:
                    chain.append(
                        Subscription(inner.answer, part, None, {}, decides=is_settled, tests=inner.tests)
                    )
        if self._base is not None:
            requests = self._base.requests(tells_clones=tells_clones)
            tests = self._base.tests
            chain.append(Subscription(self._base.answer, requests, None, {}, decides=True, tests=tests))
        return chain

    # -- hooks of the engine ------------------------------------------------------------------

    def root(self, pid: int) -> Tracee:
        """The record of a program's first task."""
        tracee = Tracee(pid, pid, Abi.native()[0])
        self.tracees.add(tracee)
        if self._base is not None:
            self._base.rooted(tracee)
        return tracee

    def called(self, held: Held) -> None:
        """Decide about a call."""
        try:
            self._decide(held)
        except OSError as error:
            if isinstance(error, Unsupported):
                warn_once(error.call, error.why)
            held.answer_result(-(errno_of(error)))
        except TraceeDied:
            raise
        except Exception:
            _print_traceback()
            held.answer_result(-errno.EIO)
            if self._strict:
                self._on_failure()

    def _decide(self, held: Held) -> None:
        tracee = held.tracee
        key = tracee.abi.audit, held.nr, held.matched
        chain, spelling, settled = self._chosen.get(key) or self._choose(*key)
        try:
            request = spelling.decode(held.args, tracee)
        except OSError as error:
            if error.errno == errno.EPERM and self._base is not None:
                # What it names may be in a mount, and the kernel can read it.
                raise Unsupported(spelling.name, _CLOSED, errno.EPERM) from None
            if self._base is not None:
                self._base.unread(spelling, held.args, tracee, error)
            # A bad pointer: the kernel cannot read it either and says so itself.
            held.answer_run()
            return
        if not settled:
            chain = [Link(one, one.admits(request)) for one, _ in chain]
        if self.watcher is None:
            outcome = settle(held, chain, request, request)
        else:
            outcome = self.watcher(tracee, request, partial(settle, held, chain, request, request))
        if outcome is request:
            held.answer_run()
        elif isinstance(outcome, int):
            held.answer_result(outcome)
        elif isinstance(outcome, Descriptor):
            held.answer_give(outcome)
        else:
            held.answer_change(*outcome.encode(tracee.abi, tracee.memory))

    def _choose(self, audit: int, nr: int, matched: int) -> tuple[list[Link], Spelling, bool]:
        """Who is asked about a call for which these rules hold, and about what he makes of it; remembered."""
        from diorama.catalogue import index

        rules = enumerate(self._chains[audit, nr])
        concerned = {id(one) for bit, one in rules if matched >> bit & 1}
        links = [Link(one, id(one) in concerned) for one in self._all]
        # Nobody further out than the first can be asked: what he makes of the call goes on inwards.
        chain = links[next(at for at, link in enumerate(links) if link.matches) :]
        spelling = index.spelling(Abi.of_audit(audit), nr)
        assert spelling is not None
        chosen = self._chosen[audit, nr, matched] = (chain, spelling, (audit, nr) not in self._unsettled)
        return chosen

    def cloned(self, parent: Tracee, child: Tracee, flags: int) -> None:
        """Let the child inherit, and tell observers."""
        self.tracees.add(child)
        if self._base is not None:
            self._base.cloned(parent, child, flags)
        for observer in self.observers:
            observer.cloned(parent, child, flags)

    def found(self, tracee: Tracee) -> None:
        """Remember a task that was there already; the base stands it where a first one stands."""
        self.tracees.add(tracee)
        if self._base is not None:
            self._base.found(tracee)

    def executed(self, tracee: Tracee) -> None:
        """Tell that the program was replaced."""
        if self._base is not None:
            self._base.executed(tracee)
        for observer in self.observers:
            observer.executed(tracee)

    def signalled(self, tracee: Tracee, sig: int) -> None:
        """Tell of a signal."""
        for observer in self.observers:
            observer.signalled(tracee, sig)

    def stopped(self, tracee: Tracee, sig: int) -> None:
        """Group-stops are the kernel's; nothing to do."""

    def continued(self, tracee: Tracee) -> None:
        """Group-stops are the kernel's; nothing to do."""

    def exited(self, tracee: Tracee, status: int) -> None:
        """Forget a task, and tell observers."""
        self.tracees.discard(tracee)
        if self._base is not None:
            self._base.exited(tracee)
        for observer in self.observers:
            observer.exited(tracee, status)

    def failed(self) -> None:
        """An error of our own on a guardian: never silent, and the programs must not run on unwatched."""
        _print_traceback()
        self._on_failure()
