"""The last task of a run on Kubeflow, which writes what Kubeflow's page of a run shows."""
