"""BiGAN on permutation-invariant MNIST (1605.09782, table 1): what its features tell, and how far G(E(x)) is from x.

    python -m benchmarks.bigan                               # about 4 min of one core
    python -m benchmarks.bigan --steps 100 --dry

    1-NN          test images named after the nearest of all train images, in the layer before the encoder's last, where the
                  authors' 97.35 is told (NNC_e-), and in E(x) itself; beside both an encoder that was not trained
    EGr / EGr_b   mean ||x - G(E(x))|| over test images, and ||x' - G(E(x))|| of another image x'; theirs 5.95 / 9.60
    EGg / EGg_b   the same where x = G(z) is made from noise; theirs 5.20 / 9.15

Images are flat in [0, 1], as there. Not as there: 256 units in both hidden layers for 1024, no normalization, normal codes for
uniform ones, R1 + R2 on pairs in every fourth step, 15 epochs for 400. The running average after the last step is scored.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax

import genjax
from benchmarks.record import record, row
from benchmarks.training import Plan, begun, trained
from genjax.data import load, unit
from genjax.data.base import joined
from genjax.families.autoencoder import autoencoder
from genjax.families.gan import two_sided
from genjax.hybrids.adversarial import adversarial
from genjax.hybrids.sees import pairs
from genjax.metrics.features import shown_reals
from genjax.metrics.modes import nearest
from genjax.model import Model, as_batch, normal
from genjax.nets import Net, mlp

SHAPE, CODES, WIDTH, GAMMA = (28, 28, 1), 50, 256, 1.0
PLAN, PREPARE = Plan(6000, 128, 2e-4), unit(256)
SOURCE = "1605.09782, table 1; ratios from the log of its code"


def squashed(net: Net) -> Net:
    """A network whose outputs are pixels in (0, 1)."""
    return net._replace(apply=lambda params, *given: jax.nn.sigmoid(net.apply(params, *given)))


def build(plan: Plan) -> Model:
    tx = optax.adam(plan.lr, b1=0.0, b2=0.99)
    coder = autoencoder(mlp((WIDTH, WIDTH), (CODES,)), squashed(mlp((WIDTH, WIDTH), SHAPE)), (CODES,), tx)
    game = dict(sees=pairs(coder, (CODES,)), game=two_sided, r1=GAMMA, r2=GAMMA, lazy=4, trains=("encoder", "decoder"))
    return adversarial(coder._replace(stages=((),)), mlp((WIDTH, WIDTH), ()), tx, tx, **game)


# ---- what is measured ----------------------------------------------------------------------------------------------------


def before_last(params: genjax.Params, x: np.ndarray) -> np.ndarray:
    """(n, WIDTH): the encoder's second hidden layer."""
    body = {name: params["encoder"][name] for name in ("Dense_0", "Dense_1")}
    hidden = jax.jit(lambda body, x: jax.nn.gelu(mlp((WIDTH,), (WIDTH,)).apply(body, x)))
    return np.concatenate([np.asarray(hidden(body, some)) for some in np.split(x, len(x) // 1000)])


def one_nearest(codes: np.ndarray, labels: np.ndarray, train: np.ndarray, known: np.ndarray) -> float:
    """Percent of codes whose nearest train code has their label."""
    return 100 * float((known[nearest(codes, train)[0]] == labels).mean())


def regained(model: Model, params: genjax.Params, x: jax.Array) -> tuple[float, float]:
    """(mean distance of x to G(E(x)), of each row's to that of the next)."""
    back = model.decode(params, model.encode(params, jax.random.key(0), as_batch(x)))
    far = lambda a: float(jnp.sqrt(((a - back).reshape(len(a), -1) ** 2).sum(1)).mean())
    return far(x), far(jnp.roll(x, 1, axis=0))


def accuracies(model: Model, params: genjax.Params, splits: dict) -> tuple[float, float]:
    """(1-NN in the layer before the last, in E(x)), percent."""
    code = jax.jit(lambda params, x: model.encode(params, jax.random.key(0), as_batch(x)))
    spaces = before_last, lambda params, x: np.asarray(code(params, x))
    (train, known), (test, labels) = splits["train"], splits["test"]
    return tuple(one_nearest(space(params, test), labels, space(params, train), known) for space in spaces)


def measured(plan: Plan, seed: int) -> dict:
    """Everything the rows tell."""
    data, model = load("mnist"), build(plan)
    parts = {"train": joined(data.splits["train"], data.splits["valid"]), "test": data.splits["test"]}
    whole = {name: (shown_reals(data.spec, part.x), np.asarray(part.y)) for name, part in parts.items()}
    state = begun(model, plan, PREPARE, data, seed)
    before = accuracies(model, state.params, whole)
    print(f"untrained: 1-NN {before[0]:.2f} before the last layer, {before[1]:.2f} in E(x)", flush=True)
    state, minutes = trained(model, state, plan, PREPARE, data, seed)
    z = normal(jax.random.split(jax.random.key(2026), 10_000), (CODES,))
    made = model.decode(state.ema, z)
    found = {"before": before, "after": accuracies(model, state.ema, whole), "minutes": minutes,
             "images": len(data.splits["train"].x)}  # fmt: skip
    return found | {"EGr": regained(model, state.ema, jnp.asarray(whole["test"][0])), "EGg": regained(model, state.ema, made)}


def lines_of(found: dict, plan: Plan, seed: int) -> list[dict]:
    """The rows."""
    about = dict(seeds=[seed], keywords=plan._asdict() | {"width": WIDTH, "codes": CODES, "gamma": GAMMA})
    spent = f"{found['minutes']:.1f} processor minutes, {plan.steps * plan.batch / found['images']:.1f} epochs"
    about |= dict(recipe="BiGAN, permutation-invariant MNIST")
    lines = []
    for number, (space, theirs) in enumerate((("the layer before E(x)", 97.39), ("E(x)", 92.10))):
        value, first = found["after"][number], found["before"][number]
        asked = dict(bar=f">= {theirs}", met=bool(value >= theirs)) if number == 0 else {}
        told = dict(reference=theirs, source=SOURCE, note=f"an untrained encoder has {first:.2f}; 60 000 neighbours; {spent}")
        lines.append(row(metric=f"1-NN accuracy, {space}", values=[value], unit="%", **asked, **told, **about))
    for name, theirs in (("EGr", 0.62), ("EGg", 0.57)):
        error, other = found[name]
        note = f"{error:.2f} / {other:.2f}, of the image itself and of another; {spent}"
        asked = dict(bar=f"<= {theirs}", met=bool(error / other <= theirs), reference=theirs, source=SOURCE)
        lines.append(row(metric=f"{name} / {name}_b", values=[error / other], note=note, **asked, **about))
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=PLAN.steps)
    parser.add_argument("--dry", action="store_true", help="print only, write no result")
    args = parser.parse_args()
    plan = PLAN._replace(steps=args.steps)
    lines = lines_of(measured(plan, args.seed), plan, args.seed)
    for line in lines:
        print(f"{line['metric']}: {line['values'][0]:.3f} ({line['bar']}); {line['note']}", flush=True)
    if not args.dry:
        record("bigan", "BiGAN on MNIST in a stated time", "python -m benchmarks.bigan", lines)


if __name__ == "__main__":
    main()
