"""A mypy plugin that knows ``to_dist``.

Switch it on in the configuration of mypy, nothing else is needed::

    [tool.mypy]
    plugins = ["agentd.mypy_plugin"]

mypy checks ``Counter(5, to_dist=True)`` against ``Counter.__init__`` alone, whatever the metaclass
says. The plugin tells it what ``RpcMeta`` does:

* each class whose metaclass is ``RpcMeta`` takes a keyword ``to_dist``, of the type that
  ``RpcMeta.__call__`` declares; the other arguments are checked as ever;
* a dict written down as ``to_dist={...}`` has only keys that ``DistConf`` has;
* an instance of a class made with ``metaclass=RpcMeta`` has ``to_dist()``, as ``Agent`` has.

Not reached, because mypy asks no plugin there: a class held as ``type[Counter]`` (``cls(...)`` in a
class method, too), and a call with explicit parameters, ``Box[str]("a", to_dist=True)``.
docs/typing.md has another way to write each.

Only mypy imports this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy.nodes import (
    ARG_NAMED_OPT,
    ARG_STAR2,
    Argument,
    CallExpr,
    DictExpr,
    FuncDef,
    StrExpr,
    SymbolNode,
    TypeAlias,
    TypeInfo,
    Var,
)
from mypy.plugin import ClassDefContext, FunctionSigContext, Plugin
from mypy.plugins.common import add_method_to_class
from mypy.types import (
    AnyType,
    CallableType,
    FunctionLike,
    Instance,
    Type,
    TypeOfAny,
    TypeVarId,
    TypeVarType,
    UninhabitedType,
    UnionType,
    get_proper_type,
)
from mypy.typevars import fill_typevars

RPC_META: Final = "agentd.client.meta.RpcMeta"
AGENT: Final = "agentd.client.meta.Agent"
OPTION: Final = "to_dist"


def plugin(_version: str) -> type[Plugin]:
    """The entry point mypy looks for."""
    return AgentdPlugin


class AgentdPlugin(Plugin):
    """Teaches mypy what ``RpcMeta`` adds to a class."""

    def get_function_signature_hook(
        self, fullname: str
    ) -> Callable[[FunctionSigContext], FunctionLike] | None:
        """Called with the name before the parenthesis of each call that has one."""
        found = self.lookup_fully_qualified(fullname)
        # The first plugin that answers wins, so answer only where a class may be called. A name
        # that is not found belongs to a function's scope and may be a local class.
        if found is None or _may_be_agent_class(found.node):
            return _accept_to_dist
        return None

    def get_metaclass_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        """Called for each class that names its metaclass."""
        found = self.lookup_fully_qualified(fullname)
        if found is not None and isinstance(found.node, TypeInfo) and found.node.has_base(RPC_META):
            return self._add_method
        return None

    def _add_method(self, ctx: ClassDefContext) -> None:
        """Give the class the ``to_dist()`` of ``Agent``, returning its own type."""
        info = ctx.cls.info
        if info.fullname == AGENT or info.get(OPTION) is not None:
            return
        args = []
        model = self.lookup_fully_qualified(f"{AGENT}.{OPTION}")
        if model is not None and isinstance(model.node, FuncDef):
            signature = get_proper_type(model.node.type)
            if isinstance(signature, CallableType):
                args = _arguments(signature)
        itself = _self_type(info)
        add_method_to_class(
            ctx.api, ctx.cls, OPTION, args, itself, self_type=itself, tvar_def=itself
        )


def _self_type(info: TypeInfo) -> TypeVarType:
    """What ``typing.Self`` means in the class; the same that mypy makes when it meets the word."""
    if info.self_type is None:
        info.self_type = TypeVarType(
            "Self",
            f"{info.fullname}.Self",
            id=TypeVarId(0),
            values=[],
            upper_bound=fill_typevars(info),
            default=AnyType(TypeOfAny.from_omitted_generics),
        )
    return info.self_type


def _arguments(signature: CallableType) -> list[Argument]:
    """All parameters of a method but ``self``."""
    parameters = list(
        zip(signature.arg_names, signature.arg_types, signature.arg_kinds, strict=True)
    )
    return [
        Argument(Var(name or f"__{place}", kind_type), kind_type, None, kind, pos_only=name is None)
        for place, (name, kind_type, kind) in enumerate(parameters[1:])
    ]


def _is_agent_class(info: TypeInfo) -> bool:
    meta = info.metaclass_type or info.calculate_metaclass_type()
    return meta is not None and meta.type.has_base(RPC_META)


def _may_be_agent_class(node: SymbolNode | None) -> bool:
    match node:
        case TypeInfo():
            return _is_agent_class(node)
        case TypeAlias():
            target = get_proper_type(node.target)
            return isinstance(target, Instance) and _is_agent_class(target.type)
        case Var():
            return isinstance(get_proper_type(node.type), FunctionLike)  # `Alias = Counter`
    return False


def _accept_to_dist(ctx: FunctionSigContext) -> FunctionLike:
    """The signature of a constructor with ``to_dist`` in it; others as they are."""
    signature = ctx.default_signature
    if not signature.is_type_obj():
        return signature
    info = signature.type_object()
    # A parameter of that name is the class's own. With a ParamSpec nothing may come in between.
    if not _is_agent_class(info) or OPTION in signature.arg_names or signature.param_spec():
        return signature
    option = _declared_option(info)
    _check_literal(ctx, option)
    place = len(signature.arg_kinds)
    if signature.arg_kinds and signature.arg_kinds[-1] == ARG_STAR2:
        place -= 1
    names, kinds, types = (
        list(signature.arg_names),
        list(signature.arg_kinds),
        list(signature.arg_types),
    )
    names.insert(place, OPTION)
    kinds.insert(place, ARG_NAMED_OPT)
    types.insert(place, option)
    return signature.copy_modified(arg_names=names, arg_kinds=kinds, arg_types=types)


def _declared_option(info: TypeInfo) -> Type:
    """The type of ``to_dist`` as ``RpcMeta.__call__`` declares it."""
    meta = info.metaclass_type or info.calculate_metaclass_type()
    for base in meta.type.mro if meta else []:
        call = base.names.get("__call__") if base.fullname == RPC_META else None
        declared = get_proper_type(call.type) if call else None
        for item in declared.items if isinstance(declared, FunctionLike) else []:
            if OPTION in item.arg_names:
                found = item.arg_types[item.arg_names.index(OPTION)]
                if not isinstance(get_proper_type(found), UninhabitedType):
                    return found
    return AnyType(TypeOfAny.special_form)


def _check_literal(ctx: FunctionSigContext, option: Type) -> None:
    """Report the keys of a written-down ``to_dist={...}`` that ``DistConf`` does not have."""
    call = ctx.context
    if not isinstance(call, CallExpr) or OPTION not in call.arg_names:
        return
    given = call.args[call.arg_names.index(OPTION)]
    known = _options(option)
    if not isinstance(given, DictExpr) or not known:
        return
    for key, _ in given.items:
        if isinstance(key, StrExpr) and key.value not in known:
            ctx.api.fail(f'"{key.value}" is not an option of "to_dist"', key)


def _options(option: Type) -> set[str]:
    """The names that ``DistConf`` takes."""
    proper = get_proper_type(option)
    for item in proper.items if isinstance(proper, UnionType) else [proper]:
        part = get_proper_type(item)
        if isinstance(part, Instance) and part.type.name == "DistConf":
            init = part.type.get("__init__")
            made = get_proper_type(init.type) if init else None
            if isinstance(made, CallableType):
                return {name for name in made.arg_names[1:] if name is not None}
    return set()
