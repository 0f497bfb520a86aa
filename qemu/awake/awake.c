// SPDX-License-Identifier: GPL-2.0
/*
 * The 9p devices of the VM, where its root is, stay awake when all others go to
 * sleep: the driver of their transport does not know how to.
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pci_ids.h>
#include <linux/virtio_ids.h>

/* A virtio device that has been one before 1.0, and one that has not. */
#define AWAKE_OLD_9P	0x1009
#define AWAKE_NEW_9P	(0x1040 + VIRTIO_ID_9P)

static void awake_keep(unsigned int device)
{
	struct pci_dev *pdev = NULL;

	while ((pdev = pci_get_device(PCI_VENDOR_ID_REDHAT_QUMRANET, device,
				      pdev)))
		dev_pm_syscore_device(&pdev->dev, true);
}

static int __init awake_init(void)
{
	awake_keep(AWAKE_OLD_9P);
	awake_keep(AWAKE_NEW_9P);
	return 0;
}
module_init(awake_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("9p devices that do not sleep");
