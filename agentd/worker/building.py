"""Agents are built: from their class and arguments, or from the object as it was sent."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from dataclasses import fields
from functools import partial
from typing import Any

from agentd import serialization
from agentd.client.context import CurrentCall, running
from agentd.client.fetching import Found, Outcome
from agentd.client.meta import RpcMeta
from agentd.client.redaction import redactions
from agentd.errors import AgentdError, CodecNotAllowed
from agentd.protocol import fit, pack
from agentd.protocol.descriptions import Told
from agentd.protocol.messages import Start, Started, StartFailed
from agentd.transport.localport import LocalPort
from agentd.transport.recorder import Recorder
from agentd.transport.unreachable import Unreachable
from agentd.worker import shipped
from agentd.worker.executor import Executor
from agentd.worker.hosted import Agents, Hosted
from agentd.worker.operations import from_agent, payload_of
from agentd.worker.output import flush
from agentd.worker.references import HostReferences, open_outcome
from agentd.worker.rows import Row
from agentd.worker.settings import Settings
from agentd.worker.source import Source
from agentd.worker.terms import Terms
from agentd.worker.turns import TurnOptions

__all__ = ["Builder"]


class Builder:
    """Builds the agents of one worker, and tells the daemon what came of it."""

    def __init__(
        self,
        settings: Settings,
        daemon: Source,
        back: LocalPort,
        recorder: Recorder,
        executor: Executor,
        references: HostReferences,
        row: Row,
        fetch_needs: Callable[[list[Any], Callable[[Found], None]], None],
        agents: Agents,
        gives_way: Callable[[], None],
    ) -> None:
        """``agents``: those of the worker; who is not built is not there any more.

        ``gives_way``: called where a constructor begins to wait for a call.
        """
        self._settings = settings
        self._code_folder = settings.code_folder
        self._daemon = daemon
        self._back = back
        self._recorder = recorder
        self._executor = executor
        self._references = references
        self._row = row
        self._fetch_needs = fetch_needs
        self._agents = agents
        self._gives_way = gives_way
        self._telling = threading.Lock()  # protects the next one, and in which order is sent
        self._told = Told()

    def start(self, message: Start, payload: list[Any]) -> None:
        """Build one, on the row's thread or one of its own. Its calls may come from now on."""
        hosted = Hosted(
            message.agent,
            message.epoch,
            sys.intern(message.cls),  # one text for all of its agents
            self._executor,
            options_of(message.options),
            self._references,
            message.name,
            sys.intern(message.maker),
            message.code,
        )
        self._agents.come(hosted)
        plain, safe = message.plain, self._settings.safe
        terms = Terms.of(message.by, plain=plain, direct=False, safe=safe)
        if message.needs:
            have = partial(self._start_with, hosted, message, payload, terms)
            self._fetch_needs(message.needs, have)
        else:
            refs = self._references.on_terms(terms)
            hosted.post_in(self._row, partial(self._build, hosted, message, payload, terms, refs))

    def _start_with(
        self,
        hosted: Hosted,
        message: Start,
        payload: list[Any],
        terms: Terms,
        found: Found,
    ) -> None:
        """The results among the constructor's arguments are here, or one of them failed."""
        if isinstance(found, dict):
            refs = self._references.resolving(found, terms)
            hosted.post_in(self._row, partial(self._build, hosted, message, payload, terms, refs))
            return

        def fail() -> None:
            try:
                if isinstance(found, Outcome):
                    open_outcome(found, self._references, data_only=not terms.code)
                assert isinstance(found, AgentdError)
                raise found
            except BaseException as error:  # noqa: BLE001 - it is the answer
                self._not_built(hosted, message, terms, error)

        hosted.post(fail)

    def _build(
        self, hosted: Hosted, message: Start, payload: list[Any], terms: Terms, refs: Any
    ) -> None:
        call = CurrentCall(
            hosted.id, hosted.epoch, method="__init__", me=hosted.proxy, code=hosted.code
        )
        call.gives_way = self._gives_way
        Context().run(self._build_in, call, hosted, message, payload, terms, refs)

    def _build_in(
        self,
        call: CurrentCall,
        hosted: Hosted,
        message: Start,
        payload: list[Any],
        terms: Terms,
        refs: Any,
    ) -> None:
        running.set(call)
        slot = self._recorder.enter(hosted.id)
        try:
            hosted.adopt(self._make(hosted, message, payload, terms, refs))
            self._built(hosted)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
            self._not_built(hosted, message, terms, error)
        finally:
            flush()
            self._references.being_made.pop(message.agent, None)
            self._recorder.leave(slot)

    def _built(self, hosted: Hosted) -> None:
        with self._telling:
            started = Started(hosted.id, hosted.epoch, *self._told.tell(hosted.about))
            with contextlib.suppress(Unreachable):
                self._back.put([b"", *pack(started)])  # it leaves when the row makes a pause

    def _not_built(
        self, hosted: Hosted, message: Start, terms: Terms, error: BaseException
    ) -> None:
        hosted.let_go()
        self._agents.leave(hosted)
        facts, encoded = serialization.encode_error(
            from_agent(error),
            refs=self._references,
            redaction=redactions or None,
            data_only=terms.plain,
        )
        codec, frames = payload_of(encoded)
        text = (
            f"{facts['type_name']}: {facts['message']}" if facts["message"] else facts["type_name"]
        )
        failed = StartFailed(message.agent, message.epoch, fit(text), fit(facts), codec)
        self._daemon.answer(failed, frames)

    def _make(
        self, hosted: Hosted, message: Start, payload: list[Any], terms: Terms, refs: Any
    ) -> Any:
        head, *buffers = payload
        know = self._references.know
        data_only = not terms.code
        if message.mode == "registered":
            cls = serialization.import_class(message.cls)
            self._references.being_made[message.agent] = cls.__module__
            args, kwargs = serialization.decode_call(
                message.codec, head, buffers, refs=refs, data_only=data_only, may_import=True
            )
            return self._construct(hosted, cls, args, kwargs)
        if data_only:
            raise CodecNotAllowed(
                f"{message.cls} was to be made from {message.mode!r}, which is to run code; here "
                "only registered agents are made",
                codec=message.codec,
            )
        if message.code:
            shipped.use(self._code_folder, message.code)
        if message.mode == "live":
            obj = serialization.decode(message.codec, head, buffers, refs=refs, may_import=True)
            know(obj, hosted)
            return obj
        cls, args, kwargs = serialization.decode_spec(
            message.codec, head, buffers, refs=refs, may_import=True
        )
        return self._construct(hosted, cls, args, kwargs)

    def _construct(
        self,
        hosted: Hosted,
        cls: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        know = self._references.know
        if type(cls).__call__ not in (RpcMeta.__call__, type.__call__):
            obj = cls(*args, **kwargs)
            know(obj, hosted)
            return obj
        # As ``type.__call__`` does it, but known as an agent before ``__init__`` runs, so that
        # ``self`` can be handed to other agents from there.
        obj = cls.__new__(cls, *args, **kwargs)
        if isinstance(obj, cls):
            know(obj, hosted)
            type(obj).__init__(obj, *args, **kwargs)
        return obj


_USUAL = TurnOptions()
_TURN_OPTIONS = frozenset(field.name for field in fields(TurnOptions))


def options_of(told: dict[str, Any]) -> TurnOptions:
    """The turn options in a ``start``; the daemon has checked them."""
    if not told:
        return _USUAL
    known = {k: v for k, v in told.items() if k in _TURN_OPTIONS}
    return TurnOptions(**known)
