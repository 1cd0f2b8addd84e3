"""conditioned(model, encoder): a model that is told E(y) in place of y: texts, images, labels, anything a network reads.

    loss      the model's own, with y replaced by E(y)                          branches "model/...", "encoder"
    sample    x ~ p(x | E(y))

The model is made with classes=GIVEN, so that its networks see E(y) as it is: (B, C) as a vector, (B, L, C) as a sequence for
cross-attention, (B, *space, C) as an image. The encoder is trained along with the phases named, or stays as it began (Imagen's
frozen text encoder, 2205.11487); classifier-free guidance is the model's own (a hidden condition is zeros).
"""

from collections.abc import Callable, Sequence

import jax

from genjax.model import Batch, Loss, Model, Params, Phase, memory_under, stream, under
from genjax.nets import Net

OF_BATCH = ("encode", "log_prob", "by_place", "bound", "infer")
OF_Y = {"sample": 1, "decode": 1, "energy": 1, "complete": 2, "denoise": 2}  # how many inputs stand between params and y


def conditioned(model: Model, encoder: Net, *, along: Sequence[str] | None = None, weights: Params | None = None) -> Model:
    """A model of x given y as the batch holds it.

    Args:
      model: any model made with classes=GIVEN; where any part of it has `memory`, the encoder must be frozen.
      encoder: y (B, ...) -> what the model's networks see.
      along: phases of the model that train the encoder too; None all of them, () none, so that it is frozen.
      weights: parameters of the encoder to begin with.

    Returns:
      A Model that generates through its encoder too, unless that is frozen: one that learns from it starts with both.
    """
    along = None if along is None else tuple(along)
    names = {phase.name for stage in model.stages for phase in stage}
    if unknown := set(along or ()) - names:
        raise ValueError(f"conditioned has no phase {', '.join(sorted(unknown))} to train the encoder along; there are "
                         f"{', '.join(sorted(names))}")  # fmt: skip
    if model.memory and along != ():
        raise ValueError("this model's memory keeps what the encoder said some steps ago, from which it cannot be trained: "
                         "give along=() and an encoder that is trained already, by weights=")  # fmt: skip

    def read(params: Params, y: jax.Array | None) -> jax.Array:
        if y is None:
            raise ValueError("this model is conditional: give y, in the batch and to sample")
        return encoder.apply(params["encoder"], y)

    def init(key: jax.Array, batch: Batch) -> Params:
        if "y" not in batch:
            raise ValueError("conditioned needs data with y, the condition of each example")
        params = {"encoder": encoder.init(stream(key, "encoder"), batch["y"]) if weights is None else weights}
        return params | {"model": model.init(stream(key, "model"), batch | {"y": read(params, batch["y"])})}

    def told(phase: Phase) -> Phase:
        lifted = under("model", phase)
        trains = (*lifted.trains, "encoder") if along is None or phase.name in along else lifted.trains

        def loss(params: Params, key: jax.Array, batch: Batch) -> Loss:
            return lifted.loss(params, key, batch | {"y": read(params, batch["y"])})

        return lifted._replace(loss=loss, trains=trains)

    def of_batch(capability: Callable) -> Callable:
        def lifted(params: Params, *given):
            one = lambda part: part | {"y": read(params, part.get("y"))} if isinstance(part, dict) else part
            return capability(params["model"], *map(one, given))

        return lifted

    def of_y(capability: Callable, before: int) -> Callable:
        def lifted(params: Params, *inputs: jax.Array, y: jax.Array | None = None, **asked):
            y = inputs[before] if len(inputs) > before else y
            return capability(params["model"], *inputs[:before], read(params, y), **asked)

        return lifted

    there = lambda names: {name: getattr(model, name) for name in names if getattr(model, name)}
    return model._replace(
        init=init,
        stages=tuple(tuple(told(phase) for phase in stage) for stage in model.stages),
        generates=(*(f"model/{path}" for path in model.generates), *(() if along == () else ("encoder",))),
        latent_code=None,
        memory=memory_under({"model": model}, lambda name, params, key, batch: batch | {"y": read(params, batch["y"])}),
        **{name: of_batch(capability) for name, capability in there(OF_BATCH).items()},
        **{name: of_y(capability, OF_Y[name]) for name, capability in there(OF_Y).items()},
    )
