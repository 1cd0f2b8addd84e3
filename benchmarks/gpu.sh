#!/usr/bin/env bash
# What RESULTS.md has from a GPU: jobs that run side by side on one card and outlive the shell that began them.
#
#   benchmarks/gpu.sh begin dit              alone, since it measures speed
#   benchmarks/gpu.sh begin samplers grid    several at once; logs in runs/gpu/JOB.log
#   benchmarks/gpu.sh look                   the last lines of every log
#   benchmarks/gpu.sh pack FOLDER            results, pictures and logs into a folder
#
# Two at a time: of six at once each took three times as long. Data are found by GENJAX_DATA: mnist, emoji, cifar10.
# STEPS_MODES, STEPS_STACKED, STEPS_EMOJI, STEPS_VQ and STEPS_CIFAR shorten a job.
set -u
cd "$(dirname "$0")/.."
mkdir -p runs/gpu
export XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONUNBUFFERED=1
python=${PYTHON:-python3}

modes() { $python -m benchmarks.modes_2d --schedule pacgan --toys "$1" --methods "$2" ${STEPS_MODES:+--steps $STEPS_MODES}; }
stacked() { $python -m benchmarks.stacked --setting full --methods "$1" ${STEPS_STACKED:+--steps $STEPS_STACKED}; }
pictured() { # NAME OPTIONS: train a recipe, and ask whether it draws what it is told
  $python train.py "configs/$1.py" --save-every 10000 --keep 1 --chunk 100 "${@:2}"
  $python sample.py "runs/$1" --out "runs/gpu/$1.png"
}
job() {
  case $1 in
  dit) $python -m benchmarks.pending --job dit --minutes "${MINUTES:-4}" ;;
  pending) $python -m benchmarks.pending --next --device gpu --minutes "${MINUTES:-3}" ;;
  samplers) $python -m benchmarks.samplers_mnist --schedule long ;;
  grid) modes grid "relativistic, R1 + R2" ;;
  ring) modes ring "relativistic, R1 + R2" ;;
  plain) modes grid plain ;;
  packed) modes grid "packed 4" ;;
  stacked) stacked "relativistic, R1 + R2" ;;
  stacked_plain) stacked plain ;;
  emoji) pictured text_emoji_large ${STEPS_EMOJI:+--steps $STEPS_EMOJI} && $python -m benchmarks.agreement runs/text_emoji_large ;;
  vq) pictured vq_gan_emoji --levels 64 --width 384 --depth 8 --batch 64 --prior-lr 5e-4 ${STEPS_VQ:+--steps $STEPS_VQ} && $python -m benchmarks.agreement runs/vq_gan_emoji ;;
  cifar) pictured diffusion_cifar10_jpeg75 ${STEPS_CIFAR:+--steps $STEPS_CIFAR} &&
    $python -m genjax.evaluate runs/diffusion_cifar10_jpeg75 --metrics frechet,prdc --record ;;
  *) echo "no job $1" && return 2 ;;
  esac
}

case ${1:-} in
begin) for name in "${@:2}"; do
  setsid nohup "$0" run "$name" >"runs/gpu/$name.log" 2>&1 </dev/null &
done ;;
run) began=$SECONDS && job "$2" && echo "done in $((SECONDS - began)) s" || echo "failed after $((SECONDS - began)) s" ;;
look) tail -n "${2:-4}" runs/gpu/*.log ;;
pack) mkdir -p "$2" && tar czf "$2/gpu.tgz" --exclude='*.npz' results runs/gpu $(ls -d runs/*/samples runs/*/result.json runs/*/metrics.jsonl 2>/dev/null) ;;
*) sed -n 2,10p "$0" ;;
esac
