"""A method from a file outside of this package: loaded, checked before anything runs, and known by its source.

The file defines METHOD, a `w2s_jax.methods.Method` (docs/my_method.py is a template). A specification names it by its
name and the sha256 of the file: another source is another store, and a store opens without the file.
"""

import hashlib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sims.engine.checked import InputError
from sims.engine.files import read_text
from w2s_jax.names import ARENA_METHODS

if TYPE_CHECKING:
    from w2s_jax.methods import Labels, Method
    from w2s_jax.types import Task

TEMPLATE = "docs/my_method.py is a template"
HIDDEN = ("target_prior", "target_coef", "weak_concepts", "weak_prior", "weak_coef", "weak_noise_var")
"""What a source does not say of its task."""
_loaded: "dict[str, Method]" = {}
"""Methods of this process, by what specifications call them."""


def load(path: Path) -> str:
    """Execute the file, check its METHOD and remember it: returns its name and the sha256 of the file, as one text.

    Raises:
        InputError: if the file cannot be read or executed, or METHOD is not there or not a method of the arena.
    """
    source = read_text(path)
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        # Compiled from the very text that is hashed; and no cache is written beside a file of the user's.
        exec(compile(source, str(path), "exec"), module.__dict__)
    except Exception as error:
        raise InputError(
            f"--plugin must be a Python file that can be imported, but {path} raises {said(error)}; correct it."
        ) from error
    method = _checked(path, getattr(module, "METHOD", None))
    plugin = f"{method.name} {hashlib.sha256(source.encode()).hexdigest()}"
    _loaded[plugin] = method
    return plugin


def name_of(plugin: str) -> str:
    """Name of the method that a specification's `plugin` stands for; empty where there is none.

    >>> name_of("my_method 3f786850e387550f")
    'my_method'
    """
    return plugin.partition(" ")[0]


def is_loaded(plugin: str) -> bool:
    """Whether this process has executed that very source."""
    return plugin in _loaded


def find(plugin: str) -> "Method":
    """The method itself.

    Raises:
        InputError: if it is not loaded.
    """
    if plugin not in _loaded:
        name, _, digest = plugin.partition(" ")
        raise InputError(
            f"a run must have the file of its method, but {name} (sha256 {digest[:12]}...) is not loaded; give that "
            f"file with --plugin."
        )
    return _loaded[plugin]


def _checked(path: Path, method: Any) -> "Method":
    """The method, unless it is none: then its first field that is wrong is named."""
    from w2s_jax.methods import SIGHTS, Cost, Knob, Method, SignForm

    def refuse(what: str, got: Any, remedy: str = TEMPLATE) -> InputError:
        return InputError(f"{what} in {path} must be {got}; {remedy}.")

    if not isinstance(method, Method):
        got = "nothing of that name" if method is None else type(method).__name__
        raise refuse("METHOD", f"a w2s_jax.methods.Method, got {got}")
    name = method.name
    if not isinstance(name, str) or not name.isidentifier():
        raise refuse("name of METHOD", f"letters, digits and _, got {name!r}", "such as my_method")
    if name in ARENA_METHODS:
        raise refuse("name of METHOD", f"a new one, got {name}, a method of the arena", "give another")
    forms = [method] + ([method.sign] if isinstance(method.sign, SignForm) else [])
    wanted = {"about": str, "reference": str, "sees": tuple, "cost": Cost, "knobs": Mapping}
    for form in forms:
        for field, kind in wanted.items():
            value = getattr(form, field)
            if not isinstance(value, kind) and not (form is method.sign and value is None):
                raise refuse(f"{field} of {name}", f"of type {kind.__name__}, got {value!r}")
        if form.fit is not None and not callable(form.fit):
            raise refuse(f"fit of {name}", f"a function of a view and its knobs, got {form.fit!r}")
        for sight in form.sees or ():
            if sight not in SIGHTS:
                raise refuse(f"sees of {name}", f"among {', '.join(SIGHTS)}, got {sight!r}", "choose from the list")
        for knob, held in form.knobs.items():
            values = (held.default, *held.candidates) if isinstance(held, Knob) else ()
            if not values[1:] or not all(held.low <= value <= held.high for value in values):
                rule = "a Knob with a default and candidates between low and high"
                raise refuse(f"{knob} of {name}", f"{rule}, got {held!r}")
    if not method.labels:
        raise refuse(f"fit of {name}", "a function, or sign a SignForm, got neither")
    return method


def check_runs(method: "Method", labels: "Labels", task: "Task", num_samples: int, num_icl: int) -> None:
    """Refuse a method that reads what it does not declare, cannot be traced, or answers with anything but coefficients.

    It is traced once on a view that refuses every field which it did not declare; nothing is computed.

    Args:
        method: for the kind of labels.
        labels: that kind.
        task: whose sizes are those of the arena.
        num_samples: examples of the view.
        num_icl: examples of a prompt.
    """
    import jax
    import jax.numpy as jnp

    from w2s_jax.methods import SIGHTS, View, draw_view, known, masked
    from w2s_jax.types import Task

    def refuse(reads: str) -> InputError:
        return InputError(
            f"{method.name} must see what it declares alone, but it reads {reads} and declares "
            f"{', '.join(method.sees)}; do without, or declare it where it is a field of a view."
        )

    class GuardedTask(Task):
        def __getattribute__(self, name: str) -> Any:
            if name in HIDDEN:
                raise refuse(f"{name} of the source")
            return super().__getattribute__(name)

    class GuardedView(View):
        def __getattribute__(self, name: str) -> Any:
            if name in SIGHTS and name not in method.sees:
                raise refuse(name)
            found = super().__getattribute__(name)
            return GuardedTask(*found) if name == "source" else found

    def fitted(key: jax.Array, task: "Task", knobs: dict[str, jax.Array]) -> Any:
        view = draw_view(key, task, num_samples, num_icl, labels)
        if absent := [sight for sight in method.sees if getattr(view, sight) is None]:
            raise InputError(
                f"{method.name} must see what {labels} labels offer, but it declares {absent[0]}, which they do not; "
                f"leave it out, or run it with other --labels."
            )
        return known(method.fit)(GuardedView(*masked(view, method.sees)), **knobs)

    knobs = {name: jnp.asarray(value, float) for name, value in method.defaults().items()}
    try:
        found = jax.eval_shape(fitted, jax.random.key(0), task, knobs)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"fit of {method.name} must run on arrays that jax traces, but it raises {said(error)}; correct it."
        ) from error
    wanted = jax.ShapeDtypeStruct(task.target_coef.shape, jnp.result_type(float))
    got = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(found)]
    if got != [(wanted.shape, str(wanted.dtype))] or not isinstance(found, jax.ShapeDtypeStruct):
        shown = ", ".join(f"{dtype} {list(shape)}" for shape, dtype in got) or "nothing"
        raise InputError(
            f"fit of {method.name} must return one array of coefficients, {wanted.dtype} {list(wanted.shape)}, got "
            f"{shown}; one number for each feature."
        )


def said(error: Exception) -> str:
    """An error in words, of one line."""
    lines = str(error).strip().splitlines() or ["no more than that"]
    return f"{type(error).__name__}: {lines[0].rstrip('.;:')}"
