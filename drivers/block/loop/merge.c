// SPDX-License-Identifier: GPL-2.0
/*
 * Small writes that follow each other become one bio, as the block layer makes one
 * request of them. The page cache of a block device is written back block by block,
 * and a file does one large write with far less work than many small ones.
 *
 * Bios wait in the submitter's plug until it is finished, the submitter sleeps, or a bio
 * comes that does not continue them. They hold one slot of their group together. A bio for
 * which there is none is not plugged, and its submitter waits as usual.
 *
 * When a task finishes its plug, a callback of another driver, such as md, may wait for
 * the device before the callback for these bios has run. So plugs leave one slot to
 * others, and their bios are not in flight: a change of the backing does not wait for
 * them, and they go to the backing that is in force when they are submitted.
 *
 * The heart calls loop_plug_add(), and gets the bios back by way of loop_entries->submit.
 * This room calls work.c for slots. While it submits the bios of a plug that has ended, it
 * keeps the queue from being frozen; it takes no other lock.
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
	struct loop_group	*group;	/* with one of its slots */
	struct bio		*first;
	struct bio		*last;
	struct bio		*merged; /* it stands for all; NULL: there is only one */
	unsigned int		nr;
	struct work_struct	work;
};

static struct bio_set loop_merged_bios;

/*
 * Its workers submit the bios in the plug of a task that sleeps. They are not frozen, as
 * the image of a hibernation is written while kernel threads are frozen. It has a rescuer,
 * as the bios may free memory.
 */
static struct workqueue_struct *loop_plug_workqueue;

/* An error concerns the bios that have bytes past what is written. */
static void loop_merged_end(struct bio *merged)
{
	struct bio *bio = merged->bi_private, *next;

	for (; bio; bio = next) {
		next = bio->bi_next;
		bio->bi_next = NULL;
		if (merged->bi_status &&
		    bio_end_sector(bio) > merged->bi_iter.bi_sector)
			bio->bi_status = merged->bi_status;
		bio_endio(bio);
	}
	bio_put(merged);
}

/* Adds the one segment of @bio. Returns false if it does not fit. */
static bool loop_merged_add(struct bio *merged, struct bio *bio)
{
	struct bio_vec bvec = mp_bvec_iter_bvec(bio->bi_io_vec, bio->bi_iter);

	return bio_add_page(merged, bvec.bv_page, bvec.bv_len,
			    bvec.bv_offset) == bvec.bv_len;
}

/* Returns NULL if there is no memory. It does not wait for others to free some. */
static struct bio *loop_merged_alloc(struct bio *first)
{
	struct bio *merged;

	merged = bio_alloc_bioset(first->bi_bdev, BIO_MAX_VECS, first->bi_opf,
				  GFP_NOWAIT | __GFP_NOWARN, &loop_merged_bios);
	if (!merged)
		return NULL;
	bio_clone_blkg_association(merged, first);
	merged->bi_ioprio = first->bi_ioprio;
	merged->bi_write_hint = first->bi_write_hint;
	merged->bi_iter.bi_sector = first->bi_iter.bi_sector;
	merged->bi_private = first;
	merged->bi_end_io = loop_merged_end;
	loop_merged_add(merged, first);
	return merged;
}

static void loop_plug_submit(struct loop_plug *plug)
{
	struct block_device *bdev = plug->first->bi_bdev;

	if (plug->nr > 1 && blk_queue_io_stat(bdev_get_queue(bdev))) {
		part_stat_lock();
		part_stat_add(bdev, merges[STAT_WRITE], plug->nr - 1);
		part_stat_unlock();
	}
	loop_slot_unplug(plug->group);
	loop_entries->submit(plug->merged ?: plug->first, plug->group, plug->nr);
}

/*
 * Submits what has waited in a plug that ends, and keeps changes of the backing out. Returns
 * false if the queue is frozen.
 */
static bool loop_plug_end(struct loop_plug *plug)
{
	struct request_queue *q = bdev_get_queue(plug->first->bi_bdev);

	if (!percpu_ref_tryget_live(&q->q_usage_counter))
		return false;
	loop_plug_submit(plug);
	percpu_ref_put(&q->q_usage_counter);
	kfree(plug);
	return true;
}

/* Like the block layer's submit_bio(), it waits while the queue is frozen. */
static void loop_plug_work(struct work_struct *work)
{
	struct loop_plug *plug = container_of(work, struct loop_plug, work);
	struct request_queue *q = bdev_get_queue(plug->first->bi_bdev);

	while (!loop_plug_end(plug))
		wait_event(q->mq_freeze_wq, !READ_ONCE(q->mq_freeze_depth));
}

static void loop_unplug(struct blk_plug_cb *cb, bool from_schedule)
{
	struct loop_plug *plug = container_of(cb, struct loop_plug, cb);

	/*
	 * The task must not wait for a frozen queue: the plug of a device below may come
	 * later, with clones of this device's bios that the freeze waits for.
	 */
	if (!from_schedule && loop_plug_end(plug))
		return;
	INIT_WORK(&plug->work, loop_plug_work);
	queue_work(loop_plug_workqueue, &plug->work);
}

/* Lets @plug hold only @bio. The submitter does not wait for a slot here. */
static bool loop_plug_start(struct loop_plug *plug, struct bio *bio)
{
	struct loop_group *group = loop_slot_get_plugged(plug->cb.data, bio);

	if (!group)
		return false;
	plug->group = group;
	plug->first = bio;
	plug->last = bio;
	plug->merged = NULL;
	plug->nr = 1;
	return true;
}

/* Adds @bio if the file can write it together with those in @plug. */
static bool loop_plug_continue(struct loop_plug *plug, struct bio *bio)
{
	struct bio *last = plug->last;

	if (bio->bi_bdev != last->bi_bdev || bio->bi_opf != last->bi_opf ||
	    bio->bi_iter.bi_sector != bio_end_sector(last) ||
	    bio->bi_ioprio != last->bi_ioprio ||
	    bio->bi_write_hint != last->bi_write_hint ||
	    bio_blkcg_css(bio) != bio_blkcg_css(last))
		return false;
	if (!plug->merged)
		plug->merged = loop_merged_alloc(plug->first);
	if (!plug->merged ||
	    plug->merged->bi_iter.bi_size + bio->bi_iter.bi_size > LOOP_MERGE_BYTES ||
	    !loop_merged_add(plug->merged, bio))
		return false;
	last->bi_next = bio;
	plug->last = bio;
	plug->nr++;
	return true;
}

/*
 * Puts @bio, a write with one segment, into the submitter's plug. Returns false if there
 * is none, or no free slot of the group. Bios in the plug then stay there: a bio that the
 * submitter submitted now would start only when the submitter, who may wait for a slot,
 * returns.
 */
bool loop_plug_add(struct loop_device *lo, struct bio *bio)
{
	struct blk_plug_cb *cb = blk_check_plugged(loop_unplug, lo,
						   sizeof(struct loop_plug));
	struct loop_plug *plug, full;

	if (!cb)
		return false;
	plug = container_of(cb, struct loop_plug, cb);
	if (plug->nr && loop_plug_continue(plug, bio))
		return true;
	full = *plug;
	if (!loop_plug_start(plug, bio)) {
		if (!plug->nr) {
			list_del(&cb->list);
			kfree(plug);
		}
		return false;
	}
	/* this may sleep, and then the plug that @bio is in is submitted */
	if (full.nr)
		loop_plug_submit(&full);
	return true;
}

int __init loop_merge_init(void)
{
	int err;

	err = bioset_init(&loop_merged_bios, BIO_POOL_SIZE, 0, BIOSET_NEED_BVECS);
	if (err)
		return err;
	loop_plug_workqueue = alloc_workqueue("loop_plug", WQ_UNBOUND | WQ_MEM_RECLAIM,
					      0);
	if (!loop_plug_workqueue) {
		bioset_exit(&loop_merged_bios);
		return -ENOMEM;
	}
	return 0;
}

void loop_merge_exit(void)
{
	destroy_workqueue(loop_plug_workqueue);
	bioset_exit(&loop_merged_bios);
}
