"""The exception that a call ended with: its facts for everybody, its pickle for Python peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from agentd.errors import RemoteError
from agentd.printable import printable
from agentd.serialization.contract import Encoded, Redaction, References
from agentd.serialization.ladder import pickled, read
from agentd.serialization.told import Unknown, rebuild, tell

__all__ = ["REMOTE_TRACEBACK", "decode_error", "encode_error"]

REMOTE_TRACEBACK: Final = "Remote traceback (most recent call last):"
# Facts travel in the message header, which holds 64 KiB altogether.
_MESSAGE_BYTES: Final = 4 * 1024
_TRACEBACK_BYTES: Final = 32 * 1024
_USUAL: Final = "Traceback (most recent call last):"


def encode_error(
    exc: BaseException,
    *,
    refs: References | None = None,
    redaction: Redaction | None = None,
    data_only: bool = False,
) -> tuple[dict[str, Any], Encoded | None]:
    """``(facts, payload)``, without what ``redaction`` keeps back. Never raises.

    ``facts`` are plain: ``type_name``, ``message`` and ``traceback`` (text, chain included, no
    local variables). The payload is ``None`` if the exception cannot travel in any form, or only
    with what is to be kept back: deep in an object of its own, say. With ``data_only`` it is plain
    data (see ``told``).
    """
    clean = _as_it_is if redaction is None else redaction.text
    cls = type(exc)
    where = "" if cls.__module__ == "builtins" else f"{cls.__module__}."
    facts = {
        "type_name": f"{where}{cls.__qualname__}",
        "message": _safely(
            lambda: clean(str(exc)), "<the message could not be made>", _MESSAGE_BYTES
        ),
        "traceback": _safely(
            lambda: clean(_format(exc)), "<the traceback could not be made>", _TRACEBACK_BYTES
        ),
    }
    part = None if redaction is None else redaction.value
    try:
        if data_only:
            encoded = tell(exc, refs=refs, clean=part)
        else:
            encoded = pickled(exc, refs=refs, roots=lambda: [("exception", exc)], clean=part)
    except Exception:  # noqa: BLE001  (an exception whose parts cannot even be looked at)
        return facts, None
    if redaction is not None and redaction.within([encoded.head, *encoded.buffers]):
        return facts, None
    return facts, encoded


def _as_it_is(text: str) -> str:
    return text


def _safely(make: Callable[[], str], instead: str, limit: int) -> str:
    try:
        # Lone surrogates have no form in UTF-8, which facts travel in.
        text = make().encode("utf-8", "backslashreplace")
        if len(text) <= limit:
            return text.decode()
        # Where it began and what was raised are worth more than the middle.
        start, end = text[: limit // 2], text[-limit // 2 :]
        left_out = f"\n[... {len(text) - limit} bytes left out ...]\n"
        return start.decode(errors="ignore") + left_out + end.decode(errors="ignore")
    except Exception:  # noqa: BLE001  (a __str__ of the user)
        return instead


def _format(exc: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(exc)).rstrip("\n")


def decode_error(
    facts: dict[str, Any],
    codec: str | None,
    head: Any,
    buffers: Sequence[Any],
    *,
    refs: References | None = None,
    data_only: bool = False,
    may_import: bool = False,
) -> BaseException:
    """The exception, ready to be raised, with the remote traceback as a note.

    ``codec`` is empty or ``None`` if there was no payload. A type that is not known here, or
    a payload that cannot be read here, gives a ``RemoteError`` that says which type it was.
    Never raises.
    """
    text = str(facts.get("traceback") or "")
    if codec:
        try:
            exc = read(codec, head, buffers, refs=refs, data_only=data_only, may_import=may_import)
            if codec == "data":
                exc = rebuild(exc)
        except Unknown:
            return _unknown(facts, text, None)
        except Exception as failure:  # noqa: BLE001  (the error to report must not get lost)
            return _unknown(facts, text, failure)
        if isinstance(exc, BaseException):
            _note(exc, text)
            return exc
    return _unknown(facts, text, None)


def _unknown(facts: dict[str, Any], text: str, failure: Exception | None) -> RemoteError:
    type_name = str(facts.get("type_name") or "an exception")
    message = str(facts.get("message") or "")
    error = RemoteError(
        f"{type_name}: {message}" if message else type_name, type_name=type_name, traceback=text
    )
    if failure is not None:
        error.add_note(f"(raised as RemoteError because {type_name} cannot be rebuilt: {failure})")
    _note(error, text)
    return error


def _note(exc: BaseException, text: str) -> None:
    """Add the remote traceback, once: what an earlier hop added is inside the text."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [exc]
    while todo:
        part = todo.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        _drop_notes(part)
        todo += [part.__cause__, part.__context__]
        if isinstance(part, BaseExceptionGroup):
            todo += part.exceptions
    if text:
        # A note is printed by Python as it is.
        text = printable(text, keep="\n\t")
        body = text.removeprefix(_USUAL)
        note = f"{REMOTE_TRACEBACK}{body}" if body != text else f"{REMOTE_TRACEBACK}\n{text}"
        BaseException.add_note(exc, note)


def _drop_notes(exc: BaseException) -> None:
    notes = getattr(exc, "__notes__", None)
    if isinstance(notes, list):
        notes[:] = [
            note
            for note in notes
            if not (isinstance(note, str) and note.startswith(REMOTE_TRACEBACK))
        ]
