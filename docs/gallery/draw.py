"""The pictures of the page "Gallery": python docs/gallery/draw.py runs its code, and saves what each block ends in."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from jaxcnn import viz

HERE = Path(__file__).parent
PAGE = HERE.parent / "gallery.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n!\[[^\]]+\]\(gallery/([\w.]+)\))?", re.M | re.S)
WIDTH = 900  # pixels at most; the page has no more


def blocks() -> list[tuple[str, str]]:
    """(code, name of the picture below it, or "") of each block of the page."""
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def pictures() -> Iterator[tuple[str, object]]:
    """(name, figure or animation), by running the page."""
    namespace: dict[str, object] = {}
    for code, name in blocks():
        *statements, last = ast.parse(code).body
        exec(compile(ast.Module(statements, []), str(PAGE), "exec"), namespace)
        if not name:
            exec(compile(ast.Module([last], []), str(PAGE), "exec"), namespace)
        elif isinstance(last, ast.Expr):
            yield name, eval(compile(ast.Expression(last.value), str(PAGE), "eval"), namespace)


if __name__ == "__main__":
    for name, picture in pictures():
        path = HERE / name
        if path.suffix == ".gif":
            picture.save(path)
            continue
        viz.save(picture, path)
        image = Image.open(path).convert("RGB")
        image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        if path.suffix == ".jpg":  # photos
            image.save(path, quality=80)
        else:
            image.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
