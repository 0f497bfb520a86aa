#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: patch.sh VERSION
# Writes build/loop-VERSION.patch, a series for "git am" on Debian's kernel source of that
# version. It has the files of the overlay, and changes of other files of the tree. Each step
# of the series has a commit message in scripts/patch/N-STEP.msg; overlay() lists its files,
# and edit.py changes the tree's own files.
set -eu -o pipefail

top=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$top"
version=${1:?usage: $0 VERSION}
scripts/deps.sh patch
scripts/fetch-tree.sh "$version"
exec 9> "build/linux-$version/series.lock"
flock 9
src=$top/build/linux-$version/src
patch=$top/build/loop-$version.patch
edit=$top/scripts/patch/edit.py

# The author and the date of each step are those of the last commit here, so the same commit
# makes the same series.
author=$(git log -1 --format='%an <%ae>')
GIT_AUTHOR_NAME=$(git log -1 --format=%an)
GIT_AUTHOR_EMAIL=$(git log -1 --format=%ae)
GIT_AUTHOR_DATE=$(git log -1 --format=%aI)
GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME
GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE
export GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL GIT_COMMITTER_DATE
# git uses no settings but these.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null

# These files have a path of the tree and do not belong in it. edit.py changes the tree's own
# miscdevice.h; the others are about the VM, or start one.
not_for_the_tree='^include/linux/miscdevice\.h$
^tools/testing/selftests/loop/(groups(|\.debug|\.long)|packages)$
^Documentation/block/loop-stock-bugs\.rst$'
for_the_tree() {
	local file

	grep -vE "$not_for_the_tree" | while read -r file; do
		grep -q 'qemu/vm' "$file" || echo "$file"
	done
}

# overlay STEP: prints the overlay's files of a step
overlay() {
	case $1 in
	uapi) git ls-files include/linux include/uapi ;;
	driver) git ls-files drivers include/trace ;;
	documentation) git ls-files Documentation ;;
	tools) git ls-files tools/loop ;;
	selftests) git ls-files tools/testing ;;
	sample) git ls-files samples ;;
	*) return 1 ;;
	esac | for_the_tree
}

# The repository has only the files that the series changes.
work=$top/build/linux-$version/series
rm -rf "$work"
mkdir -p "$work"
series() {
	git -C "$work" "$@"
}
series init -q -b series
pristine=$(git ls-files include drivers Documentation tools samples | for_the_tree
	"$edit" files "$src")
while read -r file; do
	[ -e "$src/$file" ] || continue
	install -D -m "$(stat -c %a "$src/$file")" "$src/$file" "$work/$file"
done <<< "$pristine"
series add -f .
series commit -qm "pristine"
series tag pristine

for message in scripts/patch/[0-9]-*.msg; do
	step=${message##*/?-}
	step=${step%.msg}
	files=$(overlay "$step")
	while read -r file; do
		install -D -m "$(stat -c %a "$file")" "$file" "$work/$file"
	done <<< "$files"
	# shellcheck disable=SC2086 # a list of words
	(cd "$work" && "$edit" "$step" "$src" "$author" $files)
	series add -Af .
	series commit -qs -F "$top/$message"
done

series format-patch -q --stdout --zero-commit --no-signature --no-renames \
	--diff-algorithm=patience pristine.. > "$patch.tmp"
mv "$patch.tmp" "$patch"
echo "== build/loop-$version.patch: $(series rev-list --count pristine..) patches for" \
	"linux-source-$version $(cat "build/linux-$version/stamp")"
