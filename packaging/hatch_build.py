"""Puts the compiled modules into the wheel where packaging/compile.py made them from these very
sources; without them the wheel is plain Python. An editable installation stays as it is.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def compiled_folder(root: Path) -> Path:
    """What ``folder`` of packaging/compile.py says."""
    spec = importlib.util.spec_from_file_location("compile", root / "packaging" / "compile.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder: Path = module.folder()
    return folder


class CompiledModules(BuildHookInterface[Any]):
    """The hook pyproject.toml names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files."""
        folder = compiled_folder(Path(self.root))
        if version == "editable" or not folder.is_dir():
            return
        libraries = [*folder.rglob("*.so")]
        build_data["force_include"] |= {str(p): str(p.relative_to(folder)) for p in libraries}
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        print(f"gwsmtp: {len(libraries)} compiled modules", file=sys.stderr)
