// SPDX-License-Identifier: GPL-2.0
/*
 * Groups of bios, which bound how many are in flight, the queues where bios wait for
 * a worker or for their end, and the memory for struct loop_io. This room calls no file:
 * it queues the functions of the heart in loop_entries, which it keeps for all rooms.
 *
 * It calls no other room. It takes lo->group_lock, in any context.
 */
#include <linux/blk-cgroup.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "loop.h"

/* If a device has this many groups, a new one replaces one without bios. */
#define LOOP_IDLE_GROUPS	64

const struct loop_entries *loop_entries __ro_after_init;
struct kmem_cache *loop_io_cache;

/*
 * Each processor keeps the last struct loop_io that was freed for its next bio. Calling
 * the allocator instead costs 2.3 to 3.4 % of the instructions of a 4 KiB read or write.
 */
DEFINE_PER_CPU(struct loop_io *, loop_io_spare);

/* Its workers remove ephemeral devices. */
struct workqueue_struct *loop_remove_workqueue;

/*
 * Its workers finish detaches by force, and may wait for a file that hangs. WQ_MAX_ACTIVE,
 * shared out among the NUMA nodes, bounds how many devices can hang so before another one
 * has to wait.
 */
struct workqueue_struct *loop_force_workqueue;

/* Its workers swap pages out to files, for all devices. */
static struct workqueue_struct *loop_swap_workqueue;

unsigned int loop_queue_depth = 128;

static int loop_queue_depth_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 1, INT_MAX);
}

static const struct kernel_param_ops loop_queue_depth_ops = {
	.set	= loop_queue_depth_set,
	.get	= param_get_uint,
};

module_param_cb(hw_queue_depth, &loop_queue_depth_ops, &loop_queue_depth, 0444);
MODULE_PARM_DESC(hw_queue_depth, "Bios of a device and cgroup that may be in flight");

/*
 * Groups
 */

static void loop_slots_init(struct loop_group *group, unsigned int depth)
{
	atomic_set(&group->slots, depth);
	sema_init(&group->waiters, 0);
}

void loop_group_init(struct loop_group *group, struct loop_device *lo,
		     unsigned int depth)
{
	group->lo = lo;
	loop_slots_init(group, depth);
	INIT_LIST_HEAD(&group->writes);
	INIT_WORK(&group->write_work, loop_entries->write_work);
	init_llist_head(&group->done);
	INIT_WORK(&group->end_work, loop_entries->end_work);
}

static struct loop_group *loop_group_find(struct loop_device *lo,
					  struct cgroup_subsys_state *blkcg)
{
	struct loop_group *group;

	lockdep_assert_held(&lo->group_lock);

	list_for_each_entry(group, &lo->groups, node) {
		if (group->blkcg == blkcg) {
			group->users++;
			return group;
		}
	}
	return NULL;
}

/* Unlinks a group without bios if the device has as many groups as it keeps. */
static struct loop_group *loop_group_evict(struct loop_device *lo)
{
	struct loop_group *group;

	lockdep_assert_held(&lo->group_lock);

	if (lo->nr_groups < LOOP_IDLE_GROUPS)
		return NULL;
	list_for_each_entry(group, &lo->groups, node) {
		if (!group->users) {
			list_del(&group->node);
			lo->nr_groups--;
			return group;
		}
	}
	return NULL;
}

static struct loop_group *loop_group_new(struct loop_device *lo,
					 struct cgroup_subsys_state *blkcg)
{
	struct loop_group *group, *new, *idle = NULL;

	new = kzalloc_obj(*new, GFP_NOWAIT | __GFP_NOWARN);
	if (!new)
		return NULL;
	loop_group_init(new, lo, loop_queue_depth);
	new->blkcg = blkcg;
	new->users = 1;
	scoped_guard(spinlock_irqsave, &lo->group_lock) {
		group = loop_group_find(lo, blkcg);
		if (!group) {
			idle = loop_group_evict(lo);
			list_add(&new->node, &lo->groups);
			lo->nr_groups++;
		}
	}
	kfree(group ? new : idle);
	return group ?: new;
}

/* If this were inlined, bios of the root cgroup would save registers for it, too. */
static noinline struct loop_group *
loop_group_find_or_new(struct loop_device *lo, struct cgroup_subsys_state *blkcg)
{
	struct loop_group *group;

	scoped_guard(spinlock_irqsave, &lo->group_lock)
		group = loop_group_find(lo, blkcg);
	return group ?: loop_group_new(lo, blkcg) ?: &lo->root_group;
}

/*
 * Returns the group of the bio's cgroup, or the root's if no memory is left for a
 * new one. A group outlives its cgroup; another cgroup inherits it if it gets the
 * same address.
 */
static struct loop_group *loop_group_get(struct loop_device *lo, struct bio *bio)
{
	struct cgroup_subsys_state *blkcg = bio_blkcg_css(bio);

	if (!blkcg || blkcg == blkcg_root_css)
		return &lo->root_group;
	return loop_group_find_or_new(lo, blkcg);
}

static void loop_group_put(struct loop_group *group)
{
	if (!group->blkcg)
		return;
	scoped_guard(spinlock_irqsave, &group->lo->group_lock)
		group->users--;
}

/*
 * Slots: at most hw_queue_depth bios of a group are in flight
 */

static void loop_group_wait_for_slot(struct loop_group *group)
{
	if (atomic_dec_return(&group->slots) < 0)
		down(&group->waiters);
}

/* The lock of the semaphore is taken only if a task waits. */
static void loop_group_add_slot(struct loop_group *group)
{
	if (atomic_inc_return(&group->slots) <= 0)
		up(&group->waiters);
}

/* It is inline for bios that must not wait, such as all of io_uring. */
static inline bool loop_group_try_slot(struct loop_group *group)
{
	return atomic_dec_if_positive(&group->slots) >= 0;
}

/*
 * Returns the bio's group with one of its slots. Submitters wait for one in order, or get
 * NULL if they must not wait. Each group has its own bound, so that a throttled cgroup does
 * not hold up the others.
 */
struct loop_group *loop_slot_get(struct loop_device *lo, struct bio *bio, bool swap_out)
{
	struct loop_group *group = swap_out ? &lo->swap_group : loop_group_get(lo, bio);

	if (!(bio->bi_opf & REQ_NOWAIT)) {
		loop_group_wait_for_slot(group);
	} else if (!loop_group_try_slot(group)) {
		loop_group_put(group);
		return NULL;
	}
	return group;
}

/*
 * Returns the bio's group with one of its slots for the bios of a plug, until
 * loop_slot_unplug(), or NULL if none is free or plugs would hold all of them.
 */
struct loop_group *loop_slot_get_plugged(struct loop_device *lo, struct bio *bio)
{
	struct loop_group *group = loop_group_get(lo, bio);

	if (!atomic_add_unless(&group->plugged, 1, loop_queue_depth - 1))
		goto out_put;
	if (loop_group_try_slot(group))
		return group;
	atomic_dec(&group->plugged);
out_put:
	loop_group_put(group);
	return NULL;
}

/* The bios leave the plug, and one that stands for them keeps the slot. */
void loop_slot_unplug(struct loop_group *group)
{
	atomic_dec(&group->plugged);
}

/* Submitters wait for a slot. */
bool loop_slot_is_awaited(const struct loop_group *group)
{
	return atomic_read(&group->slots) < 0;
}

/* Gives the slot back, and the group with it. */
void loop_slot_put(struct loop_group *group)
{
	loop_group_add_slot(group);
	loop_group_put(group);
}

/*
 * Gives each group of a dead device one more slot. A bio that waits for one takes it,
 * fails, and so passes it on to the next.
 */
void loop_groups_let_go(struct loop_device *lo)
{
	struct loop_group *group;

	scoped_guard(spinlock_irqsave, &lo->group_lock)
		list_for_each_entry(group, &lo->groups, node)
			loop_group_add_slot(group);
	loop_group_add_slot(&lo->root_group);
	loop_group_add_slot(&lo->swap_group);
}

/* Gives each group its own bound again. No bio is in flight. */
void loop_groups_reset(struct loop_device *lo)
{
	struct loop_group *group;

	scoped_guard(spinlock_irqsave, &lo->group_lock)
		list_for_each_entry(group, &lo->groups, node)
			loop_slots_init(group, loop_queue_depth);
	loop_slots_init(&lo->root_group, loop_queue_depth);
	loop_slots_init(&lo->swap_group, LOOP_SWAP_DEPTH);
}

void loop_groups_free(struct loop_device *lo)
{
	struct loop_group *group, *next;

	list_for_each_entry_safe(group, next, &lo->groups, node)
		kfree(group);
}

/*
 * Queues
 */

/*
 * The queue has no WQ_MEM_RECLAIM, as a worker may flush a workqueue that does not have it
 * either: xfs does this when it is out of space.
 */
static struct workqueue_struct *loop_queue_alloc(struct loop_device *lo, const char *what)
{
	return alloc_workqueue("loop%d-%s", WQ_UNBOUND | WQ_FREEZABLE, WQ_MAX_ACTIVE,
			       lo->number, what);
}

/*
 * Makes the workqueues, which a device keeps from its first attach on. The reads of a few
 * throttled cgroups, or the writes of many, may take all workers that a queue runs at a
 * time; so each kind has a queue. Each device has its own, as for example a flush of a file
 * on another loop device waits for a flush of that device.
 */
int loop_device_prepare(struct loop_device *lo)
{
	lockdep_assert_held(&lo->mutex);

	if (!lo->read_queue)
		lo->read_queue = loop_queue_alloc(lo, "read");
	if (!lo->write_queue)
		lo->write_queue = loop_queue_alloc(lo, "write");
	if (!lo->flush_queue)
		lo->flush_queue = loop_queue_alloc(lo, "flush");
	return lo->read_queue && lo->write_queue && lo->flush_queue ? 0 : -ENOMEM;
}

/* Queues the bio for one of many workers. */
void loop_io_queue_work(struct loop_io *io)
{
	struct loop_device *lo = io->group->lo;

	INIT_WORK(&io->work, loop_entries->io_work);
	queue_work(bio_op(io->bio) == REQ_OP_READ ? lo->read_queue : lo->write_queue,
		   &io->work);
}

/* Queues the bio for the one worker that does the group's writes. */
static void loop_io_queue_write(struct loop_io *io)
{
	struct loop_group *group = io->group;
	struct loop_device *lo = group->lo;

	scoped_guard(spinlock_irqsave, &lo->group_lock) {
		list_add_tail(&io->node, &group->writes);
		/* after the unlock the bio may have ended, and the device be gone */
		if (queue_work(lo->write_queue, &group->write_work))
			group->users++;
	}
}

/*
 * Queues the bio for a worker, in any context. With b->mixes, direct writes wait in their
 * workers and may do so at the same time, so each write has a worker of its own.
 */
void loop_io_queue(struct loop_io *io)
{
	if (io->group == &io->group->lo->swap_group) {
		INIT_WORK(&io->work, loop_entries->swap_work);
		queue_work(loop_swap_workqueue, &io->work);
	} else if (bio_op(io->bio) == REQ_OP_WRITE && !io->b->mixes) {
		loop_io_queue_write(io);
	} else {
		loop_io_queue_work(io);
	}
}

/* Returns the next write, or NULL if there is none: then the group may be gone. */
struct loop_io *loop_group_next_write(struct loop_group *group)
{
	struct loop_io *io;

	scoped_guard(spinlock_irqsave, &group->lo->group_lock) {
		io = list_first_entry_or_null(&group->writes, struct loop_io,
					      node);
		if (io)
			list_del(&io->node);
		else
			group->users--;
	}
	return io;
}

/*
 * Queues a bio that is done, for a softirq to end it. The bio that finds the list empty
 * queues end_work, and no other run takes it before, so it still holds the group then. Any
 * other bio may have ended, and the group be gone, when llist_add() returns.
 */
void loop_io_queue_end(struct loop_io *io)
{
	struct loop_group *group = io->group;

	if (llist_add(&io->done_node, &group->done))
		queue_work(system_bh_wq, &group->end_work);
}

/*
 * Runs a function on the bio, for the bio's cgroup. Allocations start no I/O, and only
 * dirty pages of the device below throttle the worker.
 */
void loop_io_run(struct loop_io *io, void (*run)(struct loop_io *io))
{
	struct cgroup_subsys_state *blkcg = bio_blkcg_css(io->bio);
	unsigned int throttle = current->flags & PF_LOCAL_THROTTLE;
	unsigned int noio = memalloc_noio_save();

	current->flags |= PF_LOCAL_THROTTLE;
	kthread_associate_blkcg(blkcg == blkcg_root_css ? NULL : blkcg);
	run(io);
	kthread_associate_blkcg(NULL);
	current_restore_flags(throttle, PF_LOCAL_THROTTLE);
	memalloc_noio_restore(noio);
}

/*
 * Init and exit
 */

int __init loop_work_init(const struct loop_entries *entries)
{
	loop_entries = entries;
	/* the cache is not merged with others, so that a lost bio shows at exit */
	loop_io_cache = KMEM_CACHE(loop_io, SLAB_HWCACHE_ALIGN | SLAB_NO_MERGE);
	if (!loop_io_cache)
		return -ENOMEM;
	loop_remove_workqueue = alloc_workqueue("loop_remove", WQ_UNBOUND, 0);
	if (!loop_remove_workqueue)
		goto out_cache;
	loop_force_workqueue = alloc_workqueue("loop_force", WQ_UNBOUND, WQ_MAX_ACTIVE);
	if (!loop_force_workqueue)
		goto out_remove;
	loop_swap_workqueue = alloc_workqueue("loop_swap", WQ_UNBOUND |
					      WQ_FREEZABLE | WQ_MEM_RECLAIM,
					      WQ_MAX_ACTIVE);
	if (loop_swap_workqueue)
		return 0;
	destroy_workqueue(loop_force_workqueue);
out_remove:
	destroy_workqueue(loop_remove_workqueue);
out_cache:
	kmem_cache_destroy(loop_io_cache);
	return -ENOMEM;
}

static void loop_io_spares_free(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		if (per_cpu(loop_io_spare, cpu))
			kmem_cache_free(loop_io_cache,
					per_cpu(loop_io_spare, cpu));
}

/* This is called when no device is left. */
void loop_work_exit(void)
{
	/* the softirq that ended the last bio may still be in loop_end_work() */
	synchronize_rcu();
	destroy_workqueue(loop_swap_workqueue);
	destroy_workqueue(loop_force_workqueue);
	destroy_workqueue(loop_remove_workqueue);
	loop_io_spares_free();
	kmem_cache_destroy(loop_io_cache);
}
