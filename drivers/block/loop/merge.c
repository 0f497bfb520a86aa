// SPDX-License-Identifier: GPL-2.0
/*
 * Small writes that follow each other become one bio, as the block layer makes one
 * request of them. The page cache of a block device is written back block by block,
 * and a file does one large write with far less work than many small ones.
 *
 * Bios wait in the submitter's plug until it is finished, or the submitter sleeps. They
 * are in flight meanwhile, so no change of the backing goes past them.
 *
 * The heart comes in by loop_plug_add(). This room calls no other, and takes no lock. It
 * has the heart's function that submits from work.c.
 */
#include <linux/bio.h>
#include <linux/blk-cgroup.h>
#include <linux/blkdev.h>
#include <linux/part_stat.h>
#include <linux/slab.h>
#include "loop.h"

#define LOOP_MERGE_BYTES	SZ_1M

/* The bios of one device in one plug. Each one continues the one before. */
struct loop_plug {
	struct blk_plug_cb	cb;	/* its data is the device */
	struct bio_list		bios;
	unsigned int		nr;
	unsigned int		bytes;
	struct work_struct	work;	/* submits them if the submitter sleeps */
};

static struct bio_set loop_merged_bios;

static void loop_merged_end(struct bio *merged)
{
	struct bio *bio = merged->bi_private, *next;

	for (; bio; bio = next) {
		next = bio->bi_next;
		bio->bi_next = NULL;
		bio->bi_status = merged->bi_status;
		bio_endio(bio);
	}
	bio_put(merged);
}

/* Makes one bio of all in @plug, or returns NULL if there is no memory for it. */
static struct bio *loop_plug_merge(struct loop_plug *plug)
{
	struct bio *first = plug->bios.head, *bio, *merged;
	struct bio_vec bvec;

	merged = bio_alloc_bioset(first->bi_bdev, plug->nr, first->bi_opf,
				  GFP_NOWAIT | __GFP_NOWARN, &loop_merged_bios);
	if (!merged)
		return NULL;
	bio_clone_blkg_association(merged, first);
	merged->bi_ioprio = first->bi_ioprio;
	merged->bi_write_hint = first->bi_write_hint;
	merged->bi_iter.bi_sector = first->bi_iter.bi_sector;
	merged->bi_private = first;
	merged->bi_end_io = loop_merged_end;
	bio_list_for_each(bio, &plug->bios) {
		bvec = mp_bvec_iter_bvec(bio->bi_io_vec, bio->bi_iter);
		__bio_add_page(merged, bvec.bv_page, bvec.bv_len, bvec.bv_offset);
	}
	if (blk_queue_io_stat(bdev_get_queue(first->bi_bdev))) {
		part_stat_lock();
		part_stat_add(first->bi_bdev, merges[STAT_WRITE], plug->nr - 1);
		part_stat_unlock();
	}
	return merged;
}

static void loop_plug_submit(struct loop_plug *plug)
{
	struct bio *bio = plug->nr > 1 ? loop_plug_merge(plug) : NULL;

	if (bio) {
		loop_entries->submit(bio, plug->nr);
	} else {
		while ((bio = bio_list_pop(&plug->bios)))
			loop_entries->submit(bio, 1);
	}
	kfree(plug);
}

static void loop_plug_work(struct work_struct *work)
{
	loop_plug_submit(container_of(work, struct loop_plug, work));
}

/*
 * A worker submits, also when the plug is finished: bios of other devices have left the
 * plug as well, and what the submission waits for may need them.
 */
static void loop_unplug(struct blk_plug_cb *cb, bool from_schedule)
{
	struct loop_plug *plug = container_of(cb, struct loop_plug, cb);
	struct loop_device *lo = cb->data;

	INIT_WORK(&plug->work, loop_plug_work);
	queue_work(lo->workqueue, &plug->work);
}

/* The file can write @bio together with those in @plug. */
static bool loop_plug_continues(const struct loop_plug *plug, struct bio *bio)
{
	struct bio *last = plug->bios.tail;

	return bio->bi_bdev == last->bi_bdev && bio->bi_opf == last->bi_opf &&
	       bio->bi_iter.bi_sector == bio_end_sector(last) &&
	       bio->bi_ioprio == last->bi_ioprio &&
	       bio->bi_write_hint == last->bi_write_hint &&
	       bio_blkcg_css(bio) == bio_blkcg_css(last) &&
	       plug->nr < BIO_MAX_VECS &&
	       plug->bytes + bio->bi_iter.bi_size <= LOOP_MERGE_BYTES;
}

/*
 * Puts @bio, a write with one segment, into the submitter's plug. Returns false if there
 * is none.
 */
bool loop_plug_add(struct loop_device *lo, struct bio *bio)
{
	struct loop_plug *plug, *other = NULL;
	struct blk_plug_cb *cb;

	while ((cb = blk_check_plugged(loop_unplug, lo, sizeof(*plug)))) {
		plug = container_of(cb, struct loop_plug, cb);
		if (!plug->nr || loop_plug_continues(plug, bio))
			break;
		list_del(&cb->list);
		other = plug;
	}
	if (cb) {
		bio_list_add(&plug->bios, bio);
		plug->nr++;
		plug->bytes += bio->bi_iter.bi_size;
	}
	/* this may sleep, and then the plug is empty */
	if (other)
		loop_plug_submit(other);
	return cb;
}

int __init loop_merge_init(void)
{
	return bioset_init(&loop_merged_bios, BIO_POOL_SIZE, 0, BIOSET_NEED_BVECS);
}

void loop_merge_exit(void)
{
	bioset_exit(&loop_merged_bios);
}
