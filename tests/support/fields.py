"""The fields of a class with slots, however it was built."""

import inspect


def fields(kind: type) -> list[str]:
    """Names of the attributes its objects have; a compiled class has no ``__slots__`` to read."""
    return [
        name
        for name, value in vars(kind).items()
        if inspect.ismemberdescriptor(value)
        or (inspect.isgetsetdescriptor(value) and not name.startswith("__"))
    ]
