"""What a setting is: one pydantic field that carries everything anybody wants to know about it.

Type, default and bounds are pydantic's own; ``title`` is the manual's label, ``description`` says
meaning, unit and effect, and three marks travel beside them: ``row`` (the number in the settings
table, None for our own keys), ``applies`` (what a change needs) and ``enforced`` (False: accepted,
stored, and listed by ``gwsmtp check`` as not acting yet). The reference file, ``config diff`` and
the checks are readers of these fields; no default lives anywhere else.
"""

import types
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Applies(StrEnum):
    """What has to happen before a changed setting acts; in the order of their weight."""

    WORKERS = "workers"  # reload: a new generation of workers
    REBIND = "rebind"  # reload: listeners are opened or closed as well
    RESTART = "restart"  # stop and start


class Group(BaseModel):
    """A mapping of the file. Frozen; unknown keys are refused. ``short_forms`` are keys that a
    validator turns into a field before the model sees them.
    """

    short_forms: ClassVar[tuple[str, ...]] = ()

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


class Mark:
    """The part of a setting that pydantic does not know."""

    __slots__ = ("applies", "default_text", "enforced", "row")

    def __init__(self, row: int | None, applies: Applies, enforced: bool, default: str) -> None:
        self.row = row
        self.applies = applies
        self.enforced = enforced
        self.default_text = default


def setting(
    default: Any = ...,
    *,
    title: str,
    description: str,
    row: int | None = None,
    applies: Applies = Applies.WORKERS,
    enforced: bool = False,
    default_text: str = "",
    factory: Callable[..., Any] | None = None,
    **bounds: Any,
) -> Any:
    """A pydantic field with a mark; ``factory`` computes the default from the fields before it and
    then ``default_text`` says in words what it gives.
    """
    extra: dict[str, Any] = {
        "row": row,
        "applies": applies.value,
        "enforced": enforced,
        "default_text": default_text,
    }
    if factory is not None:
        return Field(
            default_factory=factory,
            title=title,
            description=description,
            json_schema_extra=extra,
            **bounds,
        )
    return Field(default, title=title, description=description, json_schema_extra=extra, **bounds)


def mark_of(field: FieldInfo) -> Mark | None:
    """The mark of a field made by ``setting``; None for a field that is a mere group."""
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or "applies" not in extra:
        return None
    row = extra["row"]
    return Mark(
        row if isinstance(row, int) else None,
        Applies(str(extra["applies"])),
        bool(extra["enforced"]),
        str(extra["default_text"]),
    )


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation (``Row``, ``tuple[Row, ...]``, ``Row | None``), if any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if hasattr(annotation, "__value__"):  # a ``type`` alias
        return model_in(annotation.__value__)
    origin = get_origin(annotation)
    if origin is Annotated:
        return model_in(get_args(annotation)[0])
    if origin in (tuple, list, dict, Union, types.UnionType):
        for argument in get_args(annotation):
            found = model_in(argument)
            if found is not None:
                return found
    return None


def is_row_list(annotation: Any) -> bool:
    """The annotation holds models in a list, so that keys below it carry an index."""
    if get_origin(annotation) is Annotated:
        return is_row_list(get_args(annotation)[0])
    return get_origin(annotation) in (tuple, list)


def model_at(root: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model that stands at ``path`` below ``root``; None where there is none."""
    current: type[BaseModel] | None = root
    for step in path:
        if current is None:
            return None
        if isinstance(step, int):
            continue
        field = current.model_fields.get(step)
        current = model_in(field.annotation) if field is not None else None
    return current


def settings_of(
    root: type[BaseModel], prefix: str = "", above: tuple[type[BaseModel], ...] = ()
) -> Iterator[tuple[str, FieldInfo]]:
    """Every setting below ``root`` as (key, field), in the file's order; rows of a list as
    ``key[]``. A model that contains itself (organisations) is entered once.
    """
    for name, field in root.model_fields.items():
        key = f"{prefix}{name}"
        inner = model_in(field.annotation)
        if mark_of(field) is not None:
            yield key, field
        if inner is not None and inner is not root and inner not in above:
            rows = "[]" if is_row_list(field.annotation) else ""
            yield from settings_of(inner, f"{key}{rows}.", (*above, root))
