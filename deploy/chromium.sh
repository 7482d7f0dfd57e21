#!/bin/sh
# A browser for the browser tests: an installed Chrome or Chromium, else Debian's when we are root, else none and we say so.
for name in "$BULKHEAD_CHROMIUM" chromium chromium-browser google-chrome google-chrome-stable chrome; do
    if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "  ..  Chromium for the browser tests (apt-get)"
    log=$(mktemp)
    if { apt-get install -y --no-install-recommends chromium || { apt-get update && apt-get install -y --no-install-recommends chromium; }; } \
        >"$log" 2>&1; then
        echo "  ok  Chromium"
        rm -f "$log"
        exit 0
    fi
    tail -n 5 "$log"
    rm -f "$log"
fi
echo "  !!  NO CHROME OR CHROMIUM: the browser tests will be SKIPPED. Install one, or name it in BULKHEAD_CHROMIUM."
