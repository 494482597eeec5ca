"""The extension module, which setuptools cannot be told of in pyproject.toml: the headers live beside the package, in the tree that fires
the other markers, or, in a source distribution, within it."""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
HEADERS = [name for name in ("gil_note.h", "gil_spans.h")]
INCLUDE = next(place for place in (HERE / "include", HERE.parent / "include") if (place / HEADERS[0]).is_file())


class SourceDistribution(sdist):
    """With the headers."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        self.mkpath(str(Path(base_dir) / "include"))
        for name in HEADERS:
            self.copy_file(str(INCLUDE / name), str(Path(base_dir) / "include" / name))


setup(
    cmdclass={"sdist": SourceDistribution},
    ext_modules=[
        Extension(
            "gilprobe._gilprobe",
            sources=sorted(path.relative_to(HERE).as_posix() for path in HERE.glob("core/*.c")),
            depends=[str(path) for path in [*HERE.glob("core/*.h"), *(INCLUDE / name for name in HEADERS)]],
            include_dirs=[str(INCLUDE)],
            extra_compile_args=["-O2", "-fvisibility=hidden"],
            # Where it cannot be built, the package works and fires nothing.
            optional=True,
        )
    ],
)
