#!/usr/bin/env bash
# POST /rank with curl: the body on standard input, the answer or the problem on standard output.
#
#   echo '{"user_id": "450", "candidates": [{"ad_id": "475", "bid": 0.8}]}' | examples/rank.sh
#
# DINRANK_URL      address of the service (http://127.0.0.1:8000)
# DINRANK_API_KEY  API key, if the service requires one
set -euo pipefail

# A busy service answers 503 with Retry-After, which curl honours before it retries. X-Deadline-Ms tells the service
# how long curl waits each time. The key comes from a file descriptor: command-line arguments are visible to others.
exec curl --silent --show-error --fail-with-body \
  --max-time 1 --retry 3 --retry-max-time 5 --retry-connrefused \
  --header 'Content-Type: application/json' --header 'X-Deadline-Ms: 1000' \
  --header @<([[ -z ${DINRANK_API_KEY:-} ]] || printf 'X-API-Key: %s\n' "$DINRANK_API_KEY") \
  --data-binary @- "${DINRANK_URL:-http://127.0.0.1:8000}/rank"
