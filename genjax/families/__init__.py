"""Capability -> the families that have it as they are made by default: whom `genjax.model.need` names when one is missing."""

CAPABLE: dict[str, tuple[str, ...]] = {
    "encode": ("vae", "vq", "autoencoder", "flow"),
    "decode": ("vae", "vq", "autoencoder", "flow", "styled"),
    "log_prob": ("flow", "autoregressive", "rbm"),
    "bound": ("vae", "dequantized"),
    "by_place": ("autoregressive",),
    "complete": ("autoregressive", "masked"),
    "latent_code": ("vae",),
    "energy": ("energy", "score_matching", "rbm"),
    "denoise": ("diffusion", "consistency", "meanflow"),
    "infer": ("vae", "flow"),
}
