#!/bin/sh
# Everything between an empty volume and a service that can start; what is there already is kept, and what was
# interrupted goes on. A checkpoint says that the training was killed, bundle or not.
set -eu
raw=/data/raw/ml-100k
dataset=/data/ml-100k
bundle=/bundles/din-ml-100k

[ -d "$raw" ] || python -m training fetch "$raw"
[ -d "$dataset" ] || python -m training prepare movielens-100k "$raw" "$dataset"
if [ ! -d "$bundle" ] || [ -e "$bundle.checkpoint" ]; then
    python -m training train --data "$dataset" --model din --out "$bundle" --resume --or-anew
fi
python -m service publish --bundle "$bundle" --data "$dataset"
