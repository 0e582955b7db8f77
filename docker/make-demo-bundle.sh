#!/bin/sh
# Prepares an empty volume for the service. Idempotent: existing files are kept, and an interrupted run resumes. A
# checkpoint means that the training was killed, with or without a bundle.
set -eu
raw=/data/raw/ml-100k
dataset=/data/ml-100k
bundle=/bundles/din-ml-100k

[ -d "$raw" ] || python -m dinrank.training fetch "$raw"
[ -d "$dataset" ] || python -m dinrank.training prepare movielens-100k "$raw" "$dataset"
if [ ! -d "$bundle" ] || [ -e "$bundle.checkpoint" ]; then
    python -m dinrank.training train --data "$dataset" --model din --out "$bundle" --resume --or-anew
fi
python -m dinrank.service publish --bundle "$bundle" --data "$dataset"
