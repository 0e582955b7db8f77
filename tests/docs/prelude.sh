# Read before a page's blocks. What stays in a terminal of its own until Ctrl-C, `serve` and `consume`, goes to the
# background here, once it answers; another one of its kind ends the one before.
set -eu -o pipefail
declare -A RUNNING=()

python() {
    case "$*" in
        "-m service serve "*) stay_beside serve answers "$@" ;;
        "-m service consume "*) stay_beside consume reads_the_stream "$@" ;;
        *) command python "$@" ;;
    esac
}

redis-cli() {
    command redis-cli -p "$REDIS_PORT" "$@"
}

stay_beside() {
    local kind=$1 is_ready=$2
    shift 2
    if [[ -v RUNNING[$kind] ]]; then
        kill -TERM "${RUNNING[$kind]}"
        wait "${RUNNING[$kind]}" || true
    fi
    command python "$@" > ".page/$kind.log" 2>&1 &
    RUNNING[$kind]=$!
    until "$is_ready"; do
        if ! kill -0 "${RUNNING[$kind]}"; then
            cat ".page/$kind.log"
            return 1
        fi
        sleep 0.1
    done
    cat ".page/$kind.log"
}

answers() {
    curl --silent --fail --output /dev/null "http://127.0.0.1:$DINRANK_PORT/readyz"
}

reads_the_stream() {
    grep --quiet consuming .page/consume.log
}
