// SPDX-License-Identifier: GPL-2.0
/*
 * This module keeps the VM's 9p devices, which have its root, and its console, which has
 * the ports to the host, awake when all other devices go to sleep. Their drivers cannot
 * sleep or, in newer kernels, do not work after it.
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pci_ids.h>
#include <linux/virtio_ids.h>

/* The PCI device numbers of virtio before version 1.0, and since then. */
#define AWAKE_OLD_CONSOLE	0x1003
#define AWAKE_OLD_9P		0x1009
#define AWAKE_NEW(id)		(0x1040 + (id))

static void awake_keep(unsigned int device)
{
	struct pci_dev *pdev = NULL;

	while ((pdev = pci_get_device(PCI_VENDOR_ID_REDHAT_QUMRANET, device,
				      pdev)))
		dev_pm_syscore_device(&pdev->dev, true);
}

static int __init awake_init(void)
{
	awake_keep(AWAKE_OLD_CONSOLE);
	awake_keep(AWAKE_NEW(VIRTIO_ID_CONSOLE));
	awake_keep(AWAKE_OLD_9P);
	awake_keep(AWAKE_NEW(VIRTIO_ID_9P));
	return 0;
}
module_init(awake_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("9p devices and consoles that do not sleep");
