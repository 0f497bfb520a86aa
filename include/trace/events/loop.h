/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the loop block device. Sectors have 512 bytes and are those of the
 * loop device. A device has the name that it has in /dev.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM loop

#if !defined(_TRACE_LOOP_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_LOOP_H

#include <linux/bio.h>
#include <linux/blktrace_api.h>
#include <linux/loop.h>
#include <linux/tracepoint.h>

#ifndef _TRACE_LOOP_NAMES
#define _TRACE_LOOP_NAMES

/* This is more than blk_fill_rwbs() writes. */
#define LOOP_TRACE_RWBS_LEN	16

#define loop_trace_states						\
	{ LOOP_FREE,		"free" },				\
	{ LOOP_ATTACHING,	"attaching" },				\
	{ LOOP_ATTACHED,	"attached" },				\
	{ LOOP_RUNDOWN,		"rundown" },				\
	{ LOOP_REMOVING,	"removing" }

#define loop_trace_flags						\
	{ LO_FLAGS_READ_ONLY,	"read_only" },				\
	{ LO_FLAGS_AUTOCLEAR,	"autoclear" },				\
	{ LO_FLAGS_PARTSCAN,	"partscan" },				\
	{ LO_FLAGS_DIRECT_IO,	"direct_io" }

#endif /* _TRACE_LOOP_NAMES */

TRACE_DEFINE_ENUM(LOOP_FREE);
TRACE_DEFINE_ENUM(LOOP_ATTACHING);
TRACE_DEFINE_ENUM(LOOP_ATTACHED);
TRACE_DEFINE_ENUM(LOOP_RUNDOWN);
TRACE_DEFINE_ENUM(LOOP_REMOVING);

/* A file is attached: the configuration of the device, and the backing file. */
TRACE_EVENT(loop_attach,
	TP_PROTO(int number, const struct loop_ctl_entry *device),
	TP_ARGS(number, device),
	TP_STRUCT__entry(
		__field(int, number)
		__field(u32, flags)
		__field(u32, block_size)
		__field(u64, diskseq)
		__field(u64, offset)
		__field(u64, nr_bytes)
		__field(u64, backing_dev)
		__field(u64, backing_ino)
	),
	TP_fast_assign(
		__entry->number = number;
		__entry->flags = device->lo_flags;
		__entry->block_size = device->block_size;
		__entry->diskseq = device->diskseq;
		__entry->offset = device->offset;
		__entry->nr_bytes = device->nr_bytes;
		__entry->backing_dev = device->backing_dev;
		__entry->backing_ino = device->backing_ino;
	),
	TP_printk("loop%d diskseq=%llu backing_dev=0x%llx backing_ino=%llu offset=%llu nr_bytes=%llu block_size=%u flags=%s",
		  __entry->number, __entry->diskseq, __entry->backing_dev,
		  __entry->backing_ino, __entry->offset, __entry->nr_bytes,
		  __entry->block_size,
		  __print_flags(__entry->flags, "|", loop_trace_flags))
);

/* A file is detached, and no I/O on it is in flight. */
TRACE_EVENT(loop_detach,
	TP_PROTO(int number, u64 diskseq),
	TP_ARGS(number, diskseq),
	TP_STRUCT__entry(
		__field(int, number)
		__field(u64, diskseq)
	),
	TP_fast_assign(
		__entry->number = number;
		__entry->diskseq = diskseq;
	),
	TP_printk("loop%d diskseq=%llu", __entry->number, __entry->diskseq)
);

/* A device changes from one enum loop_state to another. */
TRACE_EVENT(loop_state,
	TP_PROTO(int number, unsigned int from, unsigned int to),
	TP_ARGS(number, from, to),
	TP_STRUCT__entry(
		__field(int, number)
		__field(unsigned int, from)
		__field(unsigned int, to)
	),
	TP_fast_assign(
		__entry->number = number;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("loop%d %s -> %s", __entry->number,
		  __print_symbolic(__entry->from, loop_trace_states),
		  __print_symbolic(__entry->to, loop_trace_states))
);

/*
 * A bio is submitted. The path that it takes has a name from loop_stats; rwbs has the
 * letters of the block layer's own tracepoints.
 */
TRACE_EVENT(loop_bio_queue,
	TP_PROTO(int number, struct bio *bio, const char *path),
	TP_ARGS(number, bio, path),
	TP_STRUCT__entry(
		__field(int, number)
		__array(char, rwbs, LOOP_TRACE_RWBS_LEN)
		__field(sector_t, sector)
		__field(unsigned int, nr_sectors)
		__string(path, path)
	),
	TP_fast_assign(
		__entry->number = number;
		blk_fill_rwbs(__entry->rwbs, bio->bi_opf);
		__entry->sector = bio->bi_iter.bi_sector;
		__entry->nr_sectors = bio_sectors(bio);
		__assign_str(path);
	),
	TP_printk("loop%d %s sector=%llu nr_sectors=%u path=%s",
		  __entry->number, __entry->rwbs, (u64)__entry->sector,
		  __entry->nr_sectors, __get_str(path))
);

/*
 * A bio ends, with a negative errno or 0. The latency is in ns since it was queued.
 */
TRACE_EVENT(loop_bio_done,
	TP_PROTO(int number, struct bio *bio, sector_t sector,
		 unsigned int nr_sectors, int error, u64 latency),
	TP_ARGS(number, bio, sector, nr_sectors, error, latency),
	TP_STRUCT__entry(
		__field(int, number)
		__array(char, rwbs, LOOP_TRACE_RWBS_LEN)
		__field(sector_t, sector)
		__field(unsigned int, nr_sectors)
		__field(int, error)
		__field(u64, latency)
	),
	TP_fast_assign(
		__entry->number = number;
		blk_fill_rwbs(__entry->rwbs, bio->bi_opf);
		__entry->sector = sector;
		__entry->nr_sectors = nr_sectors;
		__entry->error = error;
		__entry->latency = latency;
	),
	TP_printk("loop%d %s sector=%llu nr_sectors=%u error=%d latency=%llu",
		  __entry->number, __entry->rwbs, (u64)__entry->sector,
		  __entry->nr_sectors, __entry->error,
		  __entry->latency)
);

/* One fsync of the backing file serves some flushes, and has a result. */
TRACE_EVENT(loop_flush,
	TP_PROTO(int number, unsigned int served, int error),
	TP_ARGS(number, served, error),
	TP_STRUCT__entry(
		__field(int, number)
		__field(unsigned int, served)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->number = number;
		__entry->served = served;
		__entry->error = error;
	),
	TP_printk("loop%d served=%u error=%d", __entry->number,
		  __entry->served, __entry->error)
);

#endif /* _TRACE_LOOP_H */

#include <trace/define_trace.h>
