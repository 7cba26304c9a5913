"""Both ways of hosting an agent: from a constructor spec, and from a live object."""

from __future__ import annotations

from functools import partial
from typing import Any

from agentd import serialization
from agentd.client import references
from agentd.client.calling import as_data
from agentd.client.context import current
from agentd.client.options import DistConf
from agentd.client.plans import Plan, note, plan_for
from agentd.client.proxy import RpcObject, make_proxy
from agentd.client.runtime import runtime
from agentd.client.session import Session
from agentd.client.target import Target
from agentd.errors import CodecNotAllowed, ConfigError
from agentd.ids import new_agent_id
from agentd.protocol.messages import Create
from agentd.serialization import Bundle, Encoded
from agentd.transport.rundir import is_tcp

__all__ = ["adopt", "construct"]


def construct(
    cls: type | str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    conf: DistConf,
    session: Session | None = None,
) -> RpcObject:
    """Host ``cls(*args, **kwargs)``: its ``__init__`` runs in the daemon's worker, and only there.

    Returns at once, if not hundreds are on their way; with a name, as soon as the daemon has taken
    it. ``cls`` may be text, ``"pkg.mod:Class"`` or the name of a registered agent, of which this
    process needs to know nothing. A daemon that takes no code from this process makes registered
    agents only.
    """
    if session is None and isinstance(cls, type):
        made = _as_before(cls, args, kwargs, conf)
        if made is not None:
            return made
    session, refs = _refs(conf, session)
    local = cls if isinstance(cls, type) else None
    label = cls if isinstance(cls, str) else _label(cls)
    if ":" in label:
        bundle = _bundle(local, conf)
        shipped = {} if bundle is None else bundle.modules
        encoded = serialization.encode_spec(cls, args, kwargs, refs=refs, shipped=shipped)
        session = session or _session(conf)
        if session.daemon.takes_code():
            return _host("spec", label, local, encoded, conf, session, refs, bundle)
    # Not even the class is sent: the daemon has one registered under that name, or refuses.
    session = session or _session(conf)
    refs = references.sent(session.daemon)
    encode = partial(serialization.encode_call, args, kwargs, refs=refs)
    encoded = as_data(session.endpoint, encode)
    return _host("registered", label, local, encoded, conf, session, refs, None)


def _as_before(
    cls: type, args: tuple[Any, ...], kwargs: dict[str, Any], conf: DistConf
) -> RpcObject | None:
    """Host one more of a class, if it may be done as for the last one; see ``plans``."""
    plan = plan_for(cls, conf)
    if plan is None or current() is not None:
        return None
    session = _session(conf)
    if session is not plan.session:
        return None
    refs = references.Collecting(references.active())
    encoded = plan.encode(cls, args, kwargs, refs)
    if refs.results:
        return None
    agent = new_agent_id()
    creation = session.orders.create(plan.like(agent, encoded.codec), encoded, plan.bundle)
    aim = Target(agent, session.endpoint, plan.label, None, None, cls, session.workers.direct)
    aim.timeout = conf.timeout
    aim.retry = conf.retry
    aim.creation = creation
    return make_proxy(aim)


def _session(conf: DistConf) -> Session:
    return runtime().connect(conf.address)


def adopt(obj: object, conf: DistConf) -> RpcObject:
    """Host the object as it is now; its ``__init__`` does not run again.

    Raises ``SerializationError``, before anything was sent, if part of it cannot travel.
    """
    if issubclass(type(obj), RpcObject):
        raise ConfigError(f"{obj!r} is hosted already")
    session, refs = _refs(conf, None)
    encoded = serialization.encode_object(obj, refs=refs)
    bundle = _bundle(type(obj), conf)
    session = session or _session(conf)
    if not session.daemon.takes_code():
        raise CodecNotAllowed(
            f"an object cannot be hosted as it is at {session.endpoint}: that is to send code, and "
            "the daemon takes only plain data from this client (safe mode, or its role is not "
            f"deployer). Create one there: {type(obj).__name__}(..., to_dist=...), if it is "
            "registered",
            codec=encoded.codec,
        )
    return _host("live", _label(type(obj)), type(obj), encoded, conf, session, refs, bundle)


def _refs(conf: DistConf, session: Session | None) -> tuple[Session | None, references.Collecting]:
    """How references are written for where it goes; one elsewhere has to be met for that."""
    address = conf.address
    if session is None and address is not None and is_tcp(address):
        session = runtime().connect(address)
    if session is None:
        return None, references.Collecting(references.active())
    return session, references.sent(session.daemon)


def _bundle(cls: type | None, conf: DistConf) -> Bundle | None:
    """The modules that go along; a class given by name alone is the daemon's own."""
    ship = conf.ship if isinstance(conf.ship, bool) else tuple(conf.ship)
    return serialization.bundle_of(None if cls is None else cls.__module__, ship)


def _host(
    mode: str,
    label: str,
    local: type | None,
    encoded: Encoded,
    conf: DistConf,
    session: Session,
    refs: references.Collecting,
    bundle: Bundle | None,
) -> RpcObject:
    for result in refs.results.values():
        if hasattr(result, "lend"):
            result.lend()  # for good: the agent may be started again from the same arguments
    maker = current()
    code = b""
    here = maker is not None and maker.code and maker.lives_at(session.endpoint)
    if mode == "registered":
        bundle = None
    elif maker is not None and here and conf.ship is True:
        code, bundle = maker.code, None  # what it makes may need what the agent itself came with
    elif bundle is not None:
        code = bundle.digest
    agent: bytes = new_agent_id()
    like = Create(
        0,
        agent,
        label,
        mode,
        encoded.codec,
        name=conf.name,
        lifetime=conf.effective_lifetime,
        placement="dedicated" if conf.limits else conf.worker,
        get_if_exists=conf.get_if_exists,
        ack=conf.name is not None,
        parent=maker.agent if maker is not None else None,
        options=conf.turns,
        needs=refs.needs,
        code=code,
        brief=local is not None and conf.name is None,
    )
    creation = session.orders.create(like, encoded, bundle)
    if mode == "spec" and local is not None and maker is None and conf.name is None:
        _note(local, conf, session, bundle, encoded, like)
    if conf.name is not None:
        creation, agent, _existing = session.orders.wait_accepted(creation)
    return make_proxy(
        Target(
            agent,
            session.endpoint,
            label,
            conf.name,
            local=local,
            direct=session.workers.direct,
            timeout=conf.timeout,
            retry=conf.retry,
            creation=creation,
        )
    )


def _note(
    cls: type,
    conf: DistConf,
    session: Session,
    bundle: Bundle | None,
    encoded: Encoded,
    like: Create,
) -> None:
    """The next one may be made in the same way."""
    if like.needs or is_tcp(session.endpoint):
        return
    # Plain data has no class in it but by its name.
    definition = None if encoded.codec == "data" else serialization.definition_of(cls)
    if encoded.codec == "data" or definition is not None:
        note(cls, Plan(conf, session, bundle, like, definition))


def _label(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
