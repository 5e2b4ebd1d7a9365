"""Each component gets the run parameters that it declares, and no others."""

import dataclasses

from made_up_parameters import PARAMETERS

from components.gates.data import DriftGateSpec
from components.run_parameters import declare


def test_a_component_is_given_what_it_declares():
    """Selected by name; on Kubeflow each is a run parameter."""
    parameters = dataclasses.replace(PARAMETERS, force=1, max_embedding_drift=0.2)
    assert parameters.select(DriftGateSpec) == {"model_dir": "serving", "force": 1, "max_embedding_drift": 0.2}


def test_values_have_the_types_of_run_parameters():
    """TFX rejects values of other types."""
    types = {name: parameter.type for name, parameter in declare(*vars(PARAMETERS)).items()}
    assert types == {name: type(value) for name, value in vars(PARAMETERS).items()}
