// SPDX-License-Identifier: GPL-2.0
/*
 * Groups of bios, the bound on what is in flight of each, and the queues on which
 * bios wait for a worker; memory for struct loop_io. It knows nothing of files:
 * what a worker does with a bio is a function that it is given.
 *
 * It is the lowest room and calls none of the others. It takes lo->group_lock, in
 * any context.
 */
#include <linux/blk-cgroup.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "loop.h"

/* Groups that a device keeps; a new one takes the place of one without bios. */
#define LOOP_IDLE_GROUPS	64

struct kmem_cache *loop_io_cache;

/* Where devices go that remove themselves. */
struct workqueue_struct *loop_remove_workqueue;

/* The workers for what is swapped out to all devices. */
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

void loop_group_init(struct loop_group *group, struct loop_device *lo,
		     unsigned int depth)
{
	group->lo = lo;
	sema_init(&group->room, depth);
	INIT_LIST_HEAD(&group->writes);
	INIT_WORK(&group->write_work, lo->entries->write_work);
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

/* A group without bios that can go, to make room for another. */
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

/*
 * The group of the bio's cgroup. A group stays when it has no bios; another cgroup
 * may then have it, if it comes to be where the first one was in memory. Without
 * memory for a group, the bio is the root's.
 */
struct loop_group *loop_group_get(struct loop_device *lo, struct bio *bio)
{
	struct cgroup_subsys_state *blkcg = bio_blkcg_css(bio);
	struct loop_group *group;

	if (!blkcg || blkcg == blkcg_root_css)
		return &lo->root_group;
	scoped_guard(spinlock_irqsave, &lo->group_lock)
		group = loop_group_find(lo, blkcg);
	return group ?: loop_group_new(lo, blkcg) ?: &lo->root_group;
}

void loop_group_put(struct loop_group *group)
{
	if (!group->blkcg)
		return;
	scoped_guard(spinlock_irqsave, &group->lo->group_lock)
		group->users--;
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

/* What a device keeps from its first binding until it is removed. */
int loop_device_prepare(struct loop_device *lo)
{
	lockdep_assert_held(&lo->mutex);

	/*
	 * Not WQ_MEM_RECLAIM: what a worker calls may flush a workqueue that is
	 * not either, as xfs does when it is out of space.
	 */
	if (!lo->workqueue)
		lo->workqueue = alloc_workqueue("loop%d",
						WQ_UNBOUND | WQ_FREEZABLE,
						WQ_MAX_ACTIVE, lo->number);
	/*
	 * The workers of many cgroups may be all that one queue runs at a time.
	 * Nor is it one queue for all devices: a flush of a file on another loop
	 * device waits for a flush of that one.
	 */
	if (!lo->flush_queue)
		lo->flush_queue = alloc_workqueue("loop%d-flush",
						  WQ_UNBOUND | WQ_FREEZABLE,
						  0, lo->number);
	return lo->workqueue && lo->flush_queue ? 0 : -ENOMEM;
}

/* For one of many workers. These three are called in any context. */
void loop_io_queue_work(struct loop_io *io, work_func_t work)
{
	INIT_WORK(&io->work, work);
	queue_work(io->group->lo->workqueue, &io->work);
}

/* For a worker with a rescuer. */
void loop_io_queue_swap(struct loop_io *io, work_func_t work)
{
	INIT_WORK(&io->work, work);
	queue_work(loop_swap_workqueue, &io->work);
}

/* For the one worker of the group's writes. */
void loop_io_queue_write(struct loop_io *io)
{
	struct loop_group *group = io->group;
	struct loop_device *lo = group->lo;

	scoped_guard(spinlock_irqsave, &lo->group_lock) {
		list_add_tail(&io->node, &group->writes);
		/* once unlocked, the bio may be done and the device gone */
		if (queue_work(lo->workqueue, &group->write_work))
			group->users++;
	}
}

/* The next write; NULL: there is none, and the group may be gone. */
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
 * A worker acts for the bio's cgroup, allocates without I/O, and is throttled as a
 * writer to the lower device only.
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

int __init loop_work_init(void)
{
	/* not merged with others, so that a bio that is lost shows at exit */
	loop_io_cache = KMEM_CACHE(loop_io, SLAB_HWCACHE_ALIGN | SLAB_NO_MERGE);
	if (!loop_io_cache)
		return -ENOMEM;
	loop_remove_workqueue = alloc_workqueue("loop_remove", WQ_UNBOUND, 0);
	if (!loop_remove_workqueue)
		goto out_destroy;
	loop_swap_workqueue = alloc_workqueue("loop_swap", WQ_UNBOUND |
					      WQ_FREEZABLE | WQ_MEM_RECLAIM,
					      WQ_MAX_ACTIVE);
	if (!loop_swap_workqueue)
		goto out_remove_workqueue;
	return 0;

out_remove_workqueue:
	destroy_workqueue(loop_remove_workqueue);
out_destroy:
	kmem_cache_destroy(loop_io_cache);
	return -ENOMEM;
}

/* There is no device any more. */
void loop_work_exit(void)
{
	destroy_workqueue(loop_swap_workqueue);
	destroy_workqueue(loop_remove_workqueue);
	kmem_cache_destroy(loop_io_cache);
}
