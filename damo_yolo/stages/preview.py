"""Look at a balance setting before anyone trains: what it does, and which power fulfils a wish."""

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.labels.space import LabelSpace
from damo_yolo.mixing.balance import BalanceConfig, ImageClasses
from damo_yolo.mixing.exposure import Exposure, expose
from damo_yolo.mixing.power import Wish, solve_power
from damo_yolo.stages.balance import TRAIN_FILE, catalog_sampling

PLOT_SUFFIXES = (".png", ".svg")


class PreviewResult(Config):
    """What a setting would do; nothing is written but the plot."""

    wish: dict[str, float]
    """Dataset and share that the power was solved for; empty: the power was given."""
    exposure: Exposure
    """Its `config.size_power` is the solved power."""
    class_names: dict[int, str]
    """Of the classes that the records hold."""
    plot_uri: str


def preview(
    records_uri: str,
    *,
    config: BalanceConfig,
    global_batch: int,
    wish: Wish | None = None,
    plot_uri: str = "",
) -> PreviewResult:
    """Return, and plot, what balancing would do to merged records.

    Args:
        records_uri: folder that merge wrote.
        config: as of the balance stage.
        global_batch: an epoch is a multiple of it.
        wish: replaces the size power by the one that gives a dataset this share.
        plot_uri: `.png` or `.svg` to write; empty draws nothing.

    Raises:
        ConfigError: the wish cannot be fulfilled, or a setting is out of range.
        DataError: the records hold no image to train on.
    """
    if plot_uri and not plot_uri.endswith(PLOT_SUFFIXES):
        raise ConfigError(
            f"a plot cannot be written to {plot_uri}",
            fix=f"end its name in {' or '.join(PLOT_SUFFIXES)}",
        )
    classes = ImageClasses.read(storage.join(records_uri, TRAIN_FILE))
    if wish is not None:
        power = solve_power(classes.sizes, wish)
        config = config.model_copy(update={"size_power": power})
    sampling = catalog_sampling(records_uri)
    _, exposure = expose(classes, sampling, config, global_batch=global_batch)
    names = LabelSpace.load(storage.join(records_uri, "label_space.csv")).names
    result = PreviewResult(
        wish={wish.dataset: wish.share} if wish else {},
        exposure=exposure,
        class_names={item.class_id: names[item.class_id] for item in exposure.classes},
        plot_uri=plot_uri,
    )
    if plot_uri:
        from damo_yolo.reporting.exposure import exposure_plot

        image = exposure_plot(exposure, result.class_names, kind=plot_uri.rpartition(".")[2])
        storage.write_bytes(plot_uri, image)
    return result
