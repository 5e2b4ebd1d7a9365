"""Artifact types that Kubeflow's page of a run shows.

The page goes by the title of the type: `filterArtifactsByType` in frontend/src/components/viewers/
MetricsVisualizations.tsx of github.com/kubeflow/pipelines, read at 02a5c70a (with ML Metadata), and
RuntimeMetricsVisualizations.tsx there, read at 0029bf50 (without).
"""

from tfx.types.artifact import Artifact


class Metrics(Artifact):
    """Numbers, each a property.

    The launcher without ML Metadata fails the task for any other property, a display name included: "metric value must
    be a number", `uploadOutputArtifacts` in backend/src/v2/component/launcher_v2.go. The older one adds the display
    name by itself: `RecordArtifact` in backend/src/v2/metadata/client.go.
    """

    TYPE_NAME = "system.Metrics"


class ClassificationMetrics(Artifact):
    """The properties `confusionMatrix` and `confidenceMetrics`."""

    TYPE_NAME = "system.ClassificationMetrics"


class Html(Artifact):
    """HTML file at the URI; the page reads the whole file into a sandboxed frame."""

    TYPE_NAME = "system.HTML"


class Markdown(Artifact):
    """Markdown file at the URI; the page cuts the text at 400,000 characters."""

    TYPE_NAME = "system.Markdown"
