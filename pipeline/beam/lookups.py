"""Memory for two lookups that Beam repeats: they take two fifths of the processor time of a small pipeline.

Beam inspects the methods of a DoFn each time it asks whether the DoFn has state, for each transform of each bundle. And
it builds a parser of all pipeline options each time it reads one option. Neither result changes within a process.
"""

import contextlib
import copy
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core
from apache_beam.typehints import decorators


@contextlib.contextmanager
def remember_lookups() -> Iterator[None]:
    """Lets Beam keep signatures and parsed options in this context."""
    before = decorators.get_signature, core.get_signature, PipelineOptions.view_as
    decorators.get_signature = core.get_signature = _remember_signatures(decorators.get_signature)
    PipelineOptions.view_as = _remember_options(PipelineOptions.view_as)
    try:
        yield
    finally:
        decorators.get_signature, core.get_signature, PipelineOptions.view_as = before


def _remember_signatures(inspect: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Returns a function that inspects the function of a method once, whatever object the method is bound to."""

    @functools.cache
    def inspect_method(function: types.FunctionType) -> Any:
        return inspect(types.MethodType(function, object()))

    def get_signature(function: Any) -> Any:
        if type(function) is types.MethodType and type(function.__func__) is types.FunctionType:
            return inspect_method(function.__func__)
        return inspect(function)

    return get_signature


def _remember_options(view_anew: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a `PipelineOptions.view_as` that parses the same flags once for each class of options."""

    @functools.cache
    def parse(options: Any, flags: tuple[str, ...]) -> PipelineOptions:
        return options(list(flags))

    def view_as(self: PipelineOptions, options: Any) -> PipelineOptions:
        if self._flags is None:  # the flags of the command line
            return view_anew(self, options)
        view = options.__new__(options)
        view._flags, view._all_options = self._flags, self._all_options
        view._visible_options = copy.deepcopy(parse(options, tuple(self._flags))._visible_options)
        for name in view._visible_option_list():
            self._all_options.setdefault(name, getattr(view._visible_options, name))
        return view

    return view_as
