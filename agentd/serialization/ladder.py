"""From values to payloads and back: the cheapest codec that carries a value unchanged.

1. ``data`` if it is plain and small, 2. ``pickle``, 3. ``dill:X.Y`` if there is code in it, or
things that only dill can take apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agentd.errors import CodecNotAllowed, DecodeError, VersionMismatch
from agentd.serialization import data
from agentd.serialization.contract import Encoded, References, Refusal
from agentd.serialization.plain import is_plain

__all__ = ["climb", "pickled", "read"]


def climb(
    plain: Any,
    value: Any,
    *,
    refs: References | None,
    layout: Callable[[data.Form], Any],
    roots: Callable[[], list[tuple[str, Any]]],
    data_only: bool,
) -> Encoded:
    """Encode ``value`` on the lowest rung that carries it.

    ``plain`` is the payload in ``data`` if all its parts are plain, ``layout`` makes it if they
    need to be written one by one, and ``roots`` names the parts for errors.
    """
    if data_only:
        try:
            return Encoded("data", *data.pack(layout, refs=refs))
        except Refusal as refusal:
            raise refusal.error from None
    if is_plain(plain):
        try:
            return Encoded("data", *data.pack_plain(plain))
        except UnicodeEncodeError:
            pass  # Lone surrogates: pickle has a form of them.
    return pickled(value, refs=refs, roots=roots)


def pickled(
    value: Any,
    *,
    refs: References | None,
    roots: Callable[[], list[tuple[str, Any]]],
    keep: object = None,
    clean: Callable[[Any], Any] | None = None,
) -> Encoded:
    """Encode with the upper rungs. What fails on all of them is refused, with its path.

    ``clean`` is what parts of exceptions go through.
    """
    from agentd.serialization import pickling

    try:
        return _try_picklers(pickling, value, refs, keep, clean)
    except Refusal as refusal:
        raise refusal.error from None
    except Exception as exc:
        from agentd.serialization.culprit import explain

        raise explain(exc, roots(), refs=refs, keep=keep) from exc


def _try_picklers(
    pickling: Any,
    value: Any,
    refs: References | None,
    keep: object,
    clean: Callable[[Any], Any] | None = None,
) -> Encoded:
    try:
        return _dump(pickling, pickling.Fast, value, refs, keep, clean)
    except RecursionError:
        raise  # dill needs more stack, not less.
    except Exception as exc:  # noqa: BLE001  (a pickler raises what the user's code raises)
        first = exc
    deep = pickling.deep_pickler()

    def soften(part: Any) -> Any:
        try:
            _try_picklers(pickling, part, refs, None, clean)
        except Exception:  # noqa: BLE001  (as above)
            part = _text(part)
        return part if clean is None else clean(part)

    # An exception is worth more than any of its attributes: the last two tries let go of those.
    for maker, soft in ((deep, clean), (pickling.Fast, soften), (deep, soften)):
        if maker is not None:
            try:
                return _dump(pickling, maker, value, refs, keep, soft)
            except Exception:  # noqa: BLE001, S112  (as above; the first failure is reported)
                continue
    raise first


def _dump(
    pickling: Any, maker: Any, value: Any, refs: References | None, keep: object, soft: Any
) -> Encoded:
    rules, head, buffers = pickling.dump_with(maker, value, refs=refs, keep=keep, soften=soft)
    has_code = rules.has_code or maker is not pickling.Fast
    return Encoded(pickling.CODE_CODEC if has_code else "pickle", head, buffers)


def _text(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  (a __repr__ of the user)
        return f"<{type(value).__qualname__} object>"
    return text if len(text) <= 1000 else text[:1000] + "…"


def read(
    codec: str,
    head: Any,
    buffers: Sequence[Any],
    *,
    refs: References | None,
    data_only: bool,
    may_import: bool,
) -> Any:
    """Decode what `climb` made, as the codec says and in no other way."""
    if codec == "data":
        return data.unpack(head, buffers, refs=refs, data_only=data_only)
    if codec != "pickle" and not codec.startswith("dill:"):
        raise DecodeError(f"unknown codec {codec!r}; this version reads data, pickle and dill.")
    if data_only:
        raise CodecNotAllowed(
            f"a payload in codec {codec!r} arrived where only plain data is read.", codec=codec
        )
    from agentd.serialization import pickling

    if codec not in ("pickle", pickling.CODE_CODEC):
        local, remote = pickling.CODE_CODEC.removeprefix("dill:"), codec.removeprefix("dill:")
        raise VersionMismatch(
            f"the payload holds code of Python {remote}, this is Python {local}. Run both sides "
            "on the same minor version, or send only plain data and objects of installed modules.",
            local=local,
            remote=remote,
        )
    return pickling.read(head, buffers, refs=refs, may_import=may_import)
