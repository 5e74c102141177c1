#!/bin/sh
# install-cart-files.sh CHECKOUT ROOT: puts what cart-files.txt lists below ROOT.
set -eu
grep -v '^#' "$1/firmware-configs/cart-files.txt" | while read -r mode source target; do
    install -D -m "$mode" "$1/$source" "$2$target"
done
