"""Make tensorrt.pyi of one TensorRT version from its bindings wheel: no libraries, no GPU.

    python -m tests.engine.tensorrt_stubs UNZIPPED_WHEEL OUT

The bindings need a few C functions of TensorRT's libraries. Empty ones let the module be imported
and its signatures be read; nothing can be built or run with it. The result is derived from NVIDIA's
binary: it is made where it is needed, and never kept.
"""

import ast
import ctypes
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

TRIES = 500


def load(library, scratch):
    """Import a bindings library with empty functions in the place of TensorRT's."""
    dynamic = subprocess.check_output(["readelf", "-d", library], text=True)
    needed = re.findall(r"\[(libnv[^\]]+)\]", dynamic)
    symbols = subprocess.check_output(["nm", "-D", "--undefined-only", library], text=True)
    names = re.findall(r" U (\w+)", symbols)
    wanted = sorted({name for name in names if re.match(r"create|get[A-Z]|init|shutdown", name)})
    source = scratch / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in wanted))
    for name in needed:
        command = ["gcc", "-w", "-fno-builtin", "-shared", "-fPIC", f"-Wl,-soname,{name}"]
        subprocess.check_call([*command, "-o", scratch / name, source])
        ctypes.CDLL(str(scratch / name), mode=ctypes.RTLD_GLOBAL)
    spec = importlib.util.spec_from_file_location("tensorrt", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mended(text):
    """The stub as Python: a few default values are none, and TensorRT has a `bool` of its own."""
    lines = text.replace("-> bool:", "-> builtins.bool:").split("\n")
    for _ in range(TRIES):
        try:
            ast.parse("\n".join(lines))
            break
        except SyntaxError as error:
            place = error.lineno - 1
            start = re.match(r"(\s*)def (\w+)\(", lines[place])
            indent = re.match(r"\s*", lines[place])[0]
            loose = "(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:"
            lines[place] = f"{start[1]}def {start[2]}{loose}" if start else f"{indent}pass"
    ast.parse("\n".join(lines))
    future = [place for place, line in enumerate(lines) if line.startswith("from __future__")]
    lines.insert(future[-1] + 1 if future else 0, "import builtins")
    return "\n".join(lines)


def main(wheel, out):
    out.mkdir(parents=True, exist_ok=True)
    sys.modules["tensorrt"] = load(next(wheel.rglob("tensorrt*.so")), out)
    from pybind11_stubgen import main as stubgen

    stubgen(["tensorrt", "-o", str(out), "--ignore-all-errors"])
    path = out / "tensorrt.pyi"
    path.write_text(mended(path.read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
