#!/usr/bin/env bash
# Writes requirements/*.txt: every package of an image or a step of the Makefile, in the version of constraints.txt, with
# the sha256 of each file that PyPI has of it. Left out are torch with what it brings along for GPUs, and pip itself: see
# docs/decisions/0028-supply-chain.md. Needs uv on PATH and PyPI; `make lock` has both.
set -euo pipefail
cd "$(dirname "$0")/.."

lock() { # NAME EXTRA...
  local name=$1 sources=() python=3.11
  shift
  case $name in
    build) sources=(requirements/build.in) ;;
    docs) sources=(pyproject.toml) python=3.11.5 ;; # what the site is made with needs it
    demo) sources=(requirements/build.in pyproject.toml) ;; # `make install` builds in the environment itself
    *) sources=(pyproject.toml) ;;
  esac
  for extra in "$@"; do sources+=(--extra "$extra"); done
  {
    echo "# Made by \`make lock\` of pyproject.toml and constraints.txt; do not edit."
    uv pip compile "${sources[@]}" --constraint constraints.txt --universal \
      --python-version "$python" --generate-hashes --no-header --no-annotate --quiet --no-config |
      installable
  } >"requirements/$name.txt.new"
  mv "requirements/$name.txt.new" "requirements/$name.txt"
}

installable() { # a block is a package with its hashes
  awk '/^[^ ]/ { skipped = $0 ~ /^(pip|torch|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)==/ } !skipped'
}

lock build
lock service service tracing signing
lock trainer training publish signing
lock load service load
lock demo demo training
lock dev dev
lock docs docs
lock e2e e2e
