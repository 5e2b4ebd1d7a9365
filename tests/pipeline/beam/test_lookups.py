"""Memory of Beam's lookups: nothing that Beam answers changes."""

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, SetupOptions, StandardOptions
from apache_beam.transforms import core
from apache_beam.transforms.userstate import BagStateSpec, is_stateful_dofn
from apache_beam.typehints import decorators

from pipeline.beam.lookups import remember_lookups

BAG = beam.DoFn.StateParam(BagStateSpec("bag", beam.coders.VarIntCoder()))
FLAGS = ["--runner=DirectRunner", "--direct_num_workers=3", "--experiments=one", "--experiments=two"]


class Plain(beam.DoFn):
    def process(self, element, factor: int = 2):
        yield element * factor


class Stateful(beam.DoFn):
    def process(self, element, state=BAG):
        yield element


def read_all():
    options = PipelineOptions(FLAGS)
    views = [options.view_as(view) for view in (DirectOptions, StandardOptions, SetupOptions, DirectOptions)]
    views[0].direct_num_workers = 5  # seen by each later view, and by no other options
    return [options.get_all_options(), *(view.get_all_options() for view in views), PipelineOptions(FLAGS)._all_options]


def test_options_are_those_of_beam():
    """A value that is set in one view is seen in the others, and not in other options of the same flags."""
    expected = read_all()
    with remember_lookups():
        assert [read_all(), read_all()] == [expected, expected]


def test_signatures_are_those_of_beam():
    """Also those of two objects of one class, and of functions."""
    methods = [Plain().process, Plain().process, Stateful().process, len, lambda a, *b: a]
    expected = [core.get_function_args_defaults(method) for method in methods[:3]]
    signatures = [str(decorators.get_signature(method)) for method in methods]
    with remember_lookups():
        assert [core.get_function_args_defaults(method) for method in methods[:3]] == expected
        assert [str(decorators.get_signature(method)) for method in methods] == signatures
        assert [is_stateful_dofn(dofn) for dofn in (Plain(), Stateful(), Plain())] == [False, True, False]


def test_beam_is_left_as_it_was():
    """Even after an error."""
    before = decorators.get_signature, core.get_signature, PipelineOptions.view_as
    try:
        with remember_lookups():
            assert decorators.get_signature is not before[0]
            raise KeyError
    except KeyError:
        pass
    assert (decorators.get_signature, core.get_signature, PipelineOptions.view_as) == before
