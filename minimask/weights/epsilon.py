"""What frozen norms add to variances: it belongs to the weights, and so to a model's config.

torchvision's first files were trained without it (`systems.torchvision`), Keras's with 0.001; wrong
by 1e-5 it moves scores by 1e-3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minimask.nn import Module


def set_epsilon(model: Module, epsilon: float | None) -> None:
    """Give a model's frozen norms the epsilon that its weights were trained with.

    It is kept in `model.config`, from which the model is built again. Norms that are trained
    measure variances anew, and stay as they are.

    Args:
        model: with these weights.
        epsilon: None: the weights do not say; that of the model as it was built.
    """
    from minimask.conventions import get_convention
    from minimask.nn import BatchNorm2d, FrozenBatchNorm2d

    convention, config = getattr(model, "convention", None), getattr(model, "config", None)
    frozen = [module for module in model.modules() if isinstance(module, FrozenBatchNorm2d)]
    trained = any(isinstance(module, BatchNorm2d) for module in model.modules())
    if not frozen or trained or convention is None or config is None:
        return
    wanted = convention.norm_eps if epsilon is None else epsilon
    for module in frozen:
        module.eps = wanted
    if wanted == get_convention(config.get("convention", "torchvision")).norm_eps:
        config.pop("norm_eps", None)
    else:
        config["norm_eps"] = wanted


def epsilon_of(config: dict[str, object]) -> float | None:
    """The epsilon of the norms of a model of this config; None: it does not say."""
    from minimask.conventions import get_convention

    try:
        convention = get_convention(config["convention"])  # type: ignore[arg-type]
    except (KeyError, ValueError, TypeError):
        return None
    value = config.get("norm_eps", convention.norm_eps)
    return float(value) if isinstance(value, int | float) else None
