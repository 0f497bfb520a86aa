#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: profile-guest.sh VARIANT CASE NUMBER
# "make profile" runs this in a VM, twice for each row of its tables: NUMBER I/Os of CASE on a
# cached or uncached ext4 file on a RAM disk, itself (VARIANT limit), or on a loop device
# (ours). It leaves the addresses of the kernel's functions in the shared directory.
#
# shellcheck disable=SC2119 # loop_load takes arguments elsewhere
set -eu

variant=$1
case=$2
number=$3
cd "$(dirname "$0")/../tools/testing/selftests/loop"
# shellcheck source=../tools/testing/selftests/loop/common.sh
. ./common.sh
export BRD_KIB=$((512 * 1024))

scratch_init
scratch_fs ext4 -b 4096 > /dev/null
file=$LOOP_SCRATCH/mnt/ext4/file
dd if=/dev/zero of="$file" bs=1M count=256 conv=fsync status=none
dd if="$file" iflag=nocache count=0 status=none
direct=1 dio=on
case $case in
cached-*)
	dio=off
	cat "$file" > /dev/null
	;;
esac
case $variant in
limit)
	device=$file
	[ $dio = on ] || direct=0
	;;
ours)
	loop_load
	device=$(losetup --show --direct-io=$dio -f "$file")
	;;
esac
# Writeback by a timer would be counted.
echo 0 > /proc/sys/vm/dirty_writeback_centisecs
echo 64 > /proc/sys/vm/nr_hugepages
fio --name="$case" --filename="$device" --rw="rand${case#*-}" --bs=4k --size=256m \
	--direct=$direct --ioengine=io_uring --iodepth=32 --norandommap=1 --invalidate=0 \
	--thread=1 --mem=mmaphuge --disk_util=0 --io_size=$((number * 4))k --output=/dev/null
echo 0 > /proc/sys/kernel/kptr_restrict
cat /proc/kallsyms > /run/vm/share/symbols
[ "$variant" = limit ] || losetup -d "$device"
