"""The command line: a recipe file, the knobs of its function, and the options of a run.

    python train.py configs/NAME.py --KNOB value ... --OPTION value ...

A recipe is a file in `configs/`: its docstring's first line says what to expect, `data` names its data set, and

    def recipe(spec: Spec, latent: int = 16, steps: int = 3000, lr: Positive = 1e-3, ...) -> Recipe

takes the shape of the data and the knobs, each explained under `Args:`. The signature is the command line. Nothing is
accepted silently: a name nobody knows, a value of another type, an option given twice and a number out of range are
refused. The range of a number is its `Range` where the annotation has one; otherwise it is finite, an integer whose
default is positive is at least 1, and what is not negative by default is not negative.
"""

import contextlib
import dataclasses
import importlib.util
import inspect
import io
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import jax

from genjax.model import Model

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ROOT / "configs" / "vae_digits.py"
LARGEST = 2**31 - 1


class Range(NamedTuple):
    """Numbers that a knob may be; put it into the annotation: `Annotated[float, Range(0, 1)]`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # greater than `low`, not equal to it

    def holds(self, value: float) -> bool:
        return math.isfinite(value) and self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        low = "" if self.low == -math.inf else f"{'above' if self.above else 'at least'} {self.low}"
        high = "" if self.high == math.inf else f"at most {self.high}"
        return " and ".join(part for part in (low, high) if part) or "a finite number"


Positive = Annotated[float, Range(0, above=True)]
Fraction = Annotated[float, Range(0, 1)]


class Recipe(NamedTuple):
    """Everything that a run needs to know beside its data."""

    model: Model
    steps: tuple[int, ...]  # of each stage
    batch: int
    prepare: Callable  # (key, x) -> x: what the model sees of one raw example
    show: Callable  # samples -> images in [0, 1] (B, H, W, C), points (B, 2), signals (B, T, C), texts
    read: Callable | None = None  # text -> (T,) tokens: what `sample.py --prefix` starts all samples with
    ema_decay: float = 0.999
    chunk: int = 100  # steps in one dispatch; keep it under about 4 s, so that a run can stop when asked
    classes: int = 0  # labels that `model.sample` is given in turn; 0: none
    read_caption: Callable | None = None  # text -> (L,) tokens, what a model of captions is told instead
    captions: tuple[str, ...] = ()  # those it is given in turn
    cell: float | None = None  # log volume of one stored value in the model's units, per dimension: 0.0 where likelihoods are
    # probabilities of stored or binarized values, -log(levels) after `dequantize`. None: no such volume, only nats are told


@dataclasses.dataclass(frozen=True)
class Options:
    """What a run may be told, whatever its recipe.

    Attributes:
      data: data set; the recipe's own where not given.
      data_dir: folder of the data files; the variable GENJAX_DATA where not given.
      seed: of everything random in the run.
      run: folder of the run; runs/RECIPE where not given. The same command on an existing run resumes it.
      dry_run: print parameters, stages, what is frozen and the memory needed, then stop. Writes nothing.
      smoke: a few small steps in a folder of its own (name-smoke), begun anew each time: does it run at all?
      debug: show the traceback of an error.
      chunk: steps in one dispatch; 0 for the recipe's. Checkpoints and stops wait for the end of a chunk.
      log_every: steps that one line of metrics.jsonl averages, at most a chunk; 0 for about 300 lines a run.
      save_every: steps between checkpoints and sample grids; 0 for a tenth of the run.
      keep: checkpoints that are kept, the newest ones.
      parallel: jit splits each batch over all devices by itself; pmap is the same with explicit devices.
      bad_steps: steps in a row with a loss or gradient that is not finite after which the run ends.
    """

    data: str = ""
    data_dir: str = ""
    seed: int = 0
    run: str = ""
    dry_run: bool = False
    smoke: bool = False
    debug: bool = False
    chunk: Annotated[int, Range(0, LARGEST)] = 0
    log_every: Annotated[int, Range(0, LARGEST)] = 0
    save_every: Annotated[int, Range(0, LARGEST)] = 0
    keep: int = 3
    parallel: Literal["jit", "pmap"] = "jit"
    bad_steps: int = 10


class Command(NamedTuple):
    """A command line, understood."""

    path: Path  # of the recipe's file
    knobs: dict[str, Any]  # all of them, defaults included
    options: Options


class Source(NamedTuple):
    """A recipe's file, imported."""

    path: Path
    recipe: Callable[..., Recipe]  # (spec, **knobs)
    data: str  # its data set
    about: str  # its docstring
    parents: tuple[str, ...] = ()  # of a hybrid: the models that it is made of


# ---- errors in one line ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def one_line(debug: bool) -> Iterator[None]:
    """Turn an error into one line on stderr and exit code 2; with `debug`, let it through."""
    try:
        yield
    except Exception as error:
        if debug:
            raise
        print(f"error: {in_words(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("stopped before the first step", file=sys.stderr)
        raise SystemExit(130) from None


def in_words(error: Exception) -> str:
    """One line: an expected error's own words, the type and place of any other."""
    words = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    words = " ".join(words.split())
    words = words if len(words) < 600 else words[:600] + " ..."
    expected = isinstance(error, ValueError | KeyError | OSError | ImportError)
    return words if expected and words else f"{type(error).__name__}: {words} (--debug shows where)"


# ---- parsing ---------------------------------------------------------------------------------------------------------


def parse(arguments: Sequence[str]) -> Command:
    """The command line of train.py; SystemExit after --help, ValueError in one line for anything amiss."""
    path, rest = split_path(arguments)
    source = load_recipe(path)
    knobs = knob_class(source)
    parsed = parse_into({"recipe": knobs, "run": Options}, rest, f"train.py {shown(path)}", source.about)
    return Command(path, vars(parsed["recipe"]), parsed["run"])


def parse_into(groups: dict[str, type], arguments: Sequence[str], program: str, about: str) -> dict[str, Any]:
    """{group: filled dataclass} from command line arguments, checked."""
    known = {flag: takes for options in groups.values() for flag, takes in flags(options).items()}
    refuse_names(arguments, known)
    both = dataclasses.make_dataclass("Groups", [(name, options, options()) for name, options in groups.items()])
    parsed = vars(with_tyro(both, arguments, program, about))
    for options in parsed.values():
        check_ranges(options)
    return parsed


def positional(arguments: Sequence[str], options: type) -> list[int]:
    """Places of the arguments that are neither a flag nor the value of one of these options."""
    takes = {flag for flag, takes in flags(options).items() if takes}
    values = {i + 1 for i, a in enumerate(arguments) if a.replace("_", "-") in takes}
    return [i for i, a in enumerate(arguments) if not a.startswith("-") and i not in values]


def split_path(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """(recipe's file, the other arguments): the one argument that ends in .py and is no run option's value."""
    found = [i for i in positional(arguments, Options) if arguments[i].endswith(".py")]
    if len(found) > 1:
        raise ValueError(f"two recipes given, {' and '.join(arguments[i] for i in found)}; a run has one")
    path = Path(arguments[found[0]]) if found else DEFAULT
    return path, [a for i, a in enumerate(arguments) if i not in found]


def split_run(arguments: Sequence[str], options: type) -> tuple[Path, list[str]]:
    """(folder of a run, the other arguments); a mistyped option is told first, for its value looks like a second folder."""
    refuse_names(arguments, flags(options))
    found = positional(arguments, options)
    if len(found) != 1 and not {"-h", "--help"} & set(arguments):
        raise ValueError("give the folder of one run, like runs/x" + ("; this is more than one" if found else ""))
    return Path(arguments[found[0]] if found else "runs/x"), [a for i, a in enumerate(arguments) if i not in found]


def load_recipe(path: Path) -> Source:
    """Import a recipe's file."""
    place = path if path.exists() or path.is_absolute() else ROOT / path
    if not place.is_file():
        names = [f"configs/{p.name}" for p in sorted((ROOT / "configs").glob("*.py"))]
        near = get_close_matches(f"configs/{path.name}", names, 1, 0.0)
        raise ValueError(f"no recipe {path}; did you mean {near[0] if near else DEFAULT}?")
    spec = importlib.util.spec_from_file_location(f"recipe_{place.stem}", place)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{path} line {error.lineno} is no Python: {error.msg}") from error
    if not callable(getattr(module, "recipe", None)) or not isinstance(getattr(module, "data", None), str):
        raise ValueError(f'{path} is no recipe: it needs `data = "NAME"` and a function `recipe(spec, ...)`')
    return Source(place, module.recipe, module.data, inspect.getdoc(module) or "", getattr(module, "parents", ()))


def knob_class(source: Source) -> type:
    """A dataclass of the recipe's knobs, the arguments of its function after the first."""
    hints = get_type_hints(source.recipe, include_extras=True)
    parameters = list(inspect.signature(source.recipe).parameters.values())[1:]
    for p in parameters:
        if p.name not in hints or p.default is p.empty:
            raise ValueError(f"knob `{p.name}` of {source.path.name} needs a type and a default")
        if p.name in Options.__dataclass_fields__:
            raise ValueError(f"knob `{p.name}` of {source.path.name} has the name of a run option; choose another")
    knobs = dataclasses.make_dataclass("Knobs", [(p.name, hints[p.name], p.default) for p in parameters], frozen=True)
    knobs.__doc__ = inspect.getdoc(source.recipe) or ""
    return knobs


def flags(options: type) -> dict[str, bool]:
    """{flag: whether it takes a value} as the command line knows them."""
    names = {f.name.replace("_", "-"): f for f in dataclasses.fields(options)}
    return {f"--no-{name}" if f.default is True else f"--{name}": f.type is not bool for name, f in names.items()}


def refuse_names(arguments: Sequence[str], known: dict[str, bool]) -> None:
    """Refuse unknown and repeated names, and the nearest known one is told."""
    given = [re.sub("_", "-", a.split("=", 1)[0]) for a in arguments if re.match(r"--?[A-Za-z]", a)]
    for name in given:
        if name not in known and name not in ("-h", "--help"):
            near = get_close_matches(name, known, 1, 0.0)
            raise ValueError(f"there is no {name}; did you mean {near[0]}? (--help lists all)")
        if given.count(name) > 1:
            raise ValueError(f"{name} is given {given.count(name)} times; give it once")


def with_tyro(both: type, arguments: Sequence[str], program: str, about: str) -> Any:
    """Parse with tyro; its boxed message becomes one line."""
    import tyro

    said = io.StringIO()
    markers = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(both, args=list(arguments), prog=program, description=about, config=markers)
    except SystemExit as end:
        if not end.code:
            raise
        raise ValueError(unboxed(said.getvalue())) from None


def unboxed(box: str) -> str:
    """The first paragraph inside a frame of box-drawing characters."""
    paragraph = re.split(r"│\s*─{5,}", box, maxsplit=1)[0].split("\n", 1)[-1]
    return " ".join(paragraph.replace("│", " ").split()) + " (--help lists all)"


def check_ranges(values: Any) -> None:
    """Refuse numbers out of range."""
    hints = get_type_hints(type(values), include_extras=True)
    for field in dataclasses.fields(values):
        value, allowed = getattr(values, field.name), allowed_range(hints[field.name], field.default)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not isinstance(number, bool) and not allowed.holds(number):
                raise ValueError(f"--{field.name.replace('_', '-')} is {number}, but must be {allowed}")


def allowed_range(hint: Any, default: Any) -> Range:
    """The annotation's `Range`, or the one that the default suggests."""
    if get_origin(hint) is Annotated and (ranges := [a for a in get_args(hint) if isinstance(a, Range)]):
        return ranges[0]
    numbers = [n for n in (default if isinstance(default, tuple) else (default,)) if isinstance(n, int | float)]
    whole = all(isinstance(n, int) for n in numbers)
    low = min(numbers, default=-math.inf)
    low = -math.inf if low < 0 else 1 if whole and low >= 1 else 0
    return Range(low, LARGEST if whole else math.inf)


def shown(path: Path) -> str:
    """A path as a user would type it from the repository."""
    return os.path.relpath(path) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)


# ---- what both scripts set ---------------------------------------------------------------------------------------------


def use_compilation_cache() -> None:
    """Keep compiled programs for the next start, in JAX_COMPILATION_CACHE_DIR or the user's cache folder."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "genjax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
