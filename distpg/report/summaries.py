"""What TensorBoard's plugins read, as the summaries of their formats; TensorFlow is not needed."""

# protobuf creates these classes at run time, invisible to pyright
# pyright: reportAttributeAccessIssue=false, reportUnknownParameterType=false

import time
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar.metadata import CONFIG_SUMMARY_TAG
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from distpg.config.config import Config, hints
from distpg.config.values import is_numeric
from distpg.report.charts import BANDS, FINAL, patterns_of
from distpg.report.metrics import describe

CLIP = "clip"


def scalars(values: Mapping[str, float]) -> Summary:
    """Return numbers by tag."""
    return Summary(
        value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    )


def text(tag: str, markdown: str) -> Summary:
    """Return a text."""
    tensor = TensorProto(
        dtype="DT_STRING",
        string_val=[markdown.encode(errors="replace")],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
    )
    return _tensor(f"{tag}/text_summary", "text", tensor)


def histogram(tag: str, bins: np.ndarray) -> Summary:
    """Return a histogram of bins, [K, 3] left edge, right edge and count."""
    shape = [TensorShapeProto.Dim(size=size) for size in bins.shape]
    tensor = TensorProto(
        dtype="DT_DOUBLE",
        tensor_shape=TensorShapeProto(dim=shape),
        tensor_content=bins.astype("<f8").tobytes(),
    )
    return _tensor(tag, "histograms", tensor, describe(tag))


def clip(gif: bytes, width: int, height: int) -> Summary:
    """Return a clip of so many pixels, which TensorBoard shows among the images."""
    image = Summary.Image(encoded_image_string=gif, width=width, height=height, colorspace=3)
    return Summary(value=[Summary.Value(tag=CLIP, image=image)])


def layout(charts: Mapping[str, Collection[str]]) -> Summary:
    """Return the layout of Custom Scalars: titles of charts by the question they answer."""
    categories = [
        layout_pb2.Category(title=question, chart=[_chart(title) for title in titles])
        for question, titles in charts.items()
    ]
    content = layout_pb2.Layout(category=categories).SerializeToString()
    tensor = TensorProto(dtype="DT_STRING", string_val=[content], tensor_shape=TensorShapeProto())
    return _tensor(CONFIG_SUMMARY_TAG, "custom_scalars", tensor)


def _chart(title: str) -> layout_pb2.Chart:
    if title in BANDS:
        value, lower, upper = BANDS[title]
        series = layout_pb2.MarginChartContent.Series(value=value, lower=lower, upper=upper)
        margin = layout_pb2.MarginChartContent(series=[series])
        return layout_pb2.Chart(title=title, margin=margin)
    lines = layout_pb2.MultilineChartContent(tag=patterns_of(title))
    return layout_pb2.Chart(title=title, multiline=lines)


def hparams_start(config: Config, changed: Collection[str]) -> Summary:
    """Return what HParams shows of a run: its settings, those that were changed first; metrics."""
    settings = {name: _plain(value, hints()[name]) for name, value in vars(config).items()}
    known = {name: value for name, value in settings.items() if value is not None}
    infos = [
        api_pb2.HParamInfo(name=name, type=_type_of(value), differs=name in changed)
        for name, value in known.items()
    ]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in FINAL]
    experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)
    data = plugin_data_pb2.HParamsPluginData(experiment=experiment)
    # without a name of its own; runs of the same settings would share a row
    session = hparams_pb(known, trial_id="", start_time_secs=time.time())
    return Summary(value=[_hparams(metadata.EXPERIMENT_TAG, data), *session.value])


def hparams_end(*, failed: bool) -> Summary:
    """Return how a run ended, for HParams."""
    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    return Summary(value=[_hparams(metadata.SESSION_END_INFO_TAG, data)])


def _plain(value: Any, hint: Any) -> bool | float | str | None:
    """Return a setting as HParams takes it: all its values are numbers, or all are text."""
    if value is None or isinstance(value, bool):
        return value
    return float(value) if is_numeric(hint) else str(value)


def _type_of(value: bool | float | str) -> int:
    if isinstance(value, bool):
        return api_pb2.DATA_TYPE_BOOL
    return api_pb2.DATA_TYPE_STRING if isinstance(value, str) else api_pb2.DATA_TYPE_FLOAT64


def _hparams(tag: str, data: plugin_data_pb2.HParamsPluginData) -> Summary.Value:
    about = metadata.create_summary_metadata(data)
    return Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)


def _tensor(tag: str, plugin: str, tensor: TensorProto, description: str = "") -> Summary:
    about = SummaryMetadata(
        plugin_data=SummaryMetadata.PluginData(plugin_name=plugin),
        summary_description=description,
    )
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=tensor)])
