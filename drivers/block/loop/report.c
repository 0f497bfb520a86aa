// SPDX-License-Identifier: GPL-2.0
/*
 * The reports of a device: its attributes in sysfs, the lines of the log about bios
 * that fail, and the tracepoints, which this room defines for all rooms.
 *
 * This room calls backing.c to hold the backing in force while it looks at it, and to ask
 * which conditions are not met. It takes no lock.
 */
#include <linux/device.h>
#include <linux/sysfs.h>
#include "loop.h"

#define CREATE_TRACE_POINTS
#include <trace/events/loop.h>

const char * const loop_stat_names[LOOP_NR_STATS] = {
#define LOOP_PATH(symbol, name)	\
	[LOOP_PATH_##symbol] = name,
#define LOOP_STAT(symbol, name)	\
	[LOOP_STAT_##symbol] = name,
#include "stats.h"
#undef LOOP_PATH
#undef LOOP_STAT
};

/*
 * The log
 */

/* Tools look for these words, which the block layer's request code has. */
static const char * const loop_status_names[] = {
	[BLK_STS_NOTSUPP]		= "operation not supported",
	[BLK_STS_TIMEOUT]		= "timeout",
	[BLK_STS_NOSPC]			= "critical space allocation",
	[BLK_STS_TRANSPORT]		= "recoverable transport",
	[BLK_STS_TARGET]		= "critical target",
	[BLK_STS_RESV_CONFLICT]		= "reservation conflict",
	[BLK_STS_MEDIUM]		= "critical medium",
	[BLK_STS_PROTECTION]		= "protection",
	[BLK_STS_RESOURCE]		= "kernel resource",
	[BLK_STS_DEV_RESOURCE]		= "device resource",
	[BLK_STS_OFFLINE]		= "device offline",
	[BLK_STS_INVAL]			= "invalid",
};

/*
 * Logs a bio that fails, in the form that the block layer has for requests. A
 * submitter that reads ahead, does not want to wait, or sets BIO_QUIET expects the
 * error, which then has no line.
 */
void loop_bio_log_error(struct loop_device *lo, struct bio *bio,
			sector_t sector, blk_status_t status)
{
	unsigned int nr = (__force unsigned int)status;
	const char *name = NULL;
	struct bvec_iter pos;
	struct bio_vec bvec;
	unsigned int nr_segments = 0;

	if (status == BLK_STS_AGAIN || (bio->bi_opf & REQ_RAHEAD) ||
	    bio_flagged(bio, BIO_QUIET) || !__ratelimit(&lo->error_limit))
		return;
	if (nr < ARRAY_SIZE(loop_status_names))
		name = loop_status_names[nr];
	if (bio_has_data(bio))
		bio_for_each_bvec(bvec, bio, pos)
			nr_segments++;
	pr_err("%s error, dev %s, sector %llu op 0x%x:(%s) flags 0x%x phys_seg %u prio class %u\n",
	       name ?: "I/O", lo->disk->disk_name, sector, bio_op(bio),
	       blk_op_str(bio_op(bio)),
	       (__force u32)(bio->bi_opf & ~REQ_OP_MASK), nr_segments,
	       IOPRIO_PRIO_CLASS(bio->bi_ioprio));
}

/*
 * sysfs: /sys/block/loopN/loop, while a file is attached
 */

static struct loop_backing *loop_sysfs_backing(struct device *dev)
{
	struct loop_device *lo = dev_to_disk(dev)->private_data;

	return loop_backing_hold(lo) ?: ERR_PTR(-ENXIO);
}

static ssize_t backing_file_show(struct device *dev,
				 struct device_attribute *attr, char *buf)
{
	struct loop_backing *b __free(loop_backing_release) =
						loop_sysfs_backing(dev);
	size_t len;
	char *path;

	if (IS_ERR(b))
		return PTR_ERR(b);
	path = file_path(b->file, buf, PAGE_SIZE - 1);
	if (IS_ERR(path))
		return PTR_ERR(path);
	len = strlen(path);
	memmove(buf, path, len);
	buf[len++] = '\n';
	return len;
}
static DEVICE_ATTR_RO(backing_file);

/* An attribute that prints an expression of the backing in force. */
#define LOOP_ATTR_RO(_name, _fmt, _value)				\
static ssize_t _name##_show(struct device *dev,				\
			    struct device_attribute *attr, char *buf)	\
{									\
	struct loop_backing *b __free(loop_backing_release) =		\
						loop_sysfs_backing(dev); \
									\
	if (IS_ERR(b))							\
		return PTR_ERR(b);					\
	return sysfs_emit(buf, _fmt "\n", _value);			\
}									\
static DEVICE_ATTR_RO(_name)

LOOP_ATTR_RO(offset, "%lld", b->params.offset);
LOOP_ATTR_RO(sizelimit, "%lld", b->params.sizelimit);
LOOP_ATTR_RO(autoclear, "%d", READ_ONCE(b->lo->autoclear));
LOOP_ATTR_RO(partscan, "%d", READ_ONCE(b->lo->partscan));
LOOP_ATTR_RO(dio, "%d", b->params.direct);
LOOP_ATTR_RO(held, "%d", READ_ONCE(b->lo->unannounced));
LOOP_ATTR_RO(internal, "%d", !!(b->params.attach_flags & LOOP_ATTACH_INTERNAL));

static struct attribute *loop_attrs[] = {
	&dev_attr_backing_file.attr,
	&dev_attr_offset.attr,
	&dev_attr_sizelimit.attr,
	&dev_attr_autoclear.attr,
	&dev_attr_partscan.attr,
	&dev_attr_dio.attr,
	&dev_attr_held.attr,
	&dev_attr_internal.attr,
	NULL,
};

const struct attribute_group loop_attr_group = {
	.name	= "loop",
	.attrs	= loop_attrs,
};

/*
 * sysfs: /sys/block/loopN, also without a file, so that an attach need not add these.
 */

static unsigned long loop_stat_read(struct loop_device *lo,
				    enum loop_stat stat)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(lo->counters, cpu)->stats[stat]);
	return sum;
}

static ssize_t loop_stats_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	struct loop_device *lo = dev_to_disk(dev)->private_data;
	ssize_t len = 0;

	for (unsigned int i = 0; i < LOOP_NR_STATS; i++)
		len += sysfs_emit_at(buf, len, "%s %lu\n", loop_stat_names[i],
				     loop_stat_read(lo, i));
	return len;
}
static DEVICE_ATTR_RO(loop_stats);

static const char * const loop_unmet_names[] = {
	"direct_io", "direct_align", "write", "sizelimit", "discard",
	"block_size", "uncached",
};

static ssize_t loop_unmet_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	struct loop_backing *b __free(loop_backing_release) =
						loop_sysfs_backing(dev);
	unsigned long unmet;
	ssize_t len = 0;
	unsigned int i;

	if (IS_ERR(b))
		return PTR_ERR(b);
	unmet = loop_backing_unmet(b);
	for_each_set_bit(i, &unmet, ARRAY_SIZE(loop_unmet_names))
		len += sysfs_emit_at(buf, len, "%s%s", len ? " " : "",
				     loop_unmet_names[i]);
	return len + sysfs_emit_at(buf, len, "\n");
}
static DEVICE_ATTR_RO(loop_unmet);

static struct attribute *loop_disk_attrs[] = {
	&dev_attr_loop_stats.attr,
	&dev_attr_loop_unmet.attr,
	NULL,
};

static const struct attribute_group loop_disk_group = {
	.attrs	= loop_disk_attrs,
};

const struct attribute_group *loop_disk_groups[] = {
	&loop_disk_group,
	NULL,
};
