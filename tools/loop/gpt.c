// SPDX-License-Identifier: GPL-2.0
/*
 * This file finds the sector size of an image with a GUID partition table. The header
 * of the table is in the second sector, so its offset is the sector size.
 */
#include <err.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "loopctl.h"

/* The start of the header; numbers are little endian. */
struct gpt_header {
	char signature[8];
	unsigned char revision[4], header_size[4], header_crc[4], reserved[4];
	unsigned char own_sector[8];
};

static bool is_header(const struct gpt_header *h)
{
	static const unsigned char one[8] = { 1 };

	return !memcmp(h->signature, "EFI PART", 8) &&
	       !memcmp(h->own_sector, one, 8);
}

/* Sets *@size, to 0 if there is no such table in @file from @offset on. */
enum status gpt_sector_size(int file, const char *name, __u64 offset,
			    __u32 *size)
{
	struct gpt_header h;
	__u32 sector;
	ssize_t len;

	*size = 0;
	for (sector = 512; sector <= 4096; sector *= 2) {
		len = pread(file, &h, sizeof(h), offset + sector);
		if (len < 0)
			return failed(name, "read");
		if (len < (ssize_t)sizeof(h) || !is_header(&h))
			continue;
		if (*size) {
			warnx("%s: partition tables for sectors of %u and of %u bytes",
			      name, *size, sector);
			return STATUS_FAILED;
		}
		*size = sector;
	}
	return STATUS_OK;
}
