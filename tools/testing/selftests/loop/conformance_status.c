// SPDX-License-Identifier: GPL-2.0
/*
 * Groups "flags", "fields" and "pointers": what LOOP_SET_STATUS64, LOOP_SET_STATUS
 * and LOOP_CONFIGURE take, and what LOOP_GET_STATUS64 and LOOP_GET_STATUS return.
 */
#include "conformance.h"

/* Flags */

static void flags_to(uint32_t from, uint32_t to)
{
	struct loop_info64 info = { .lo_flags = to };
	struct loop_info old = { .lo_flags = to };
	char name[64];
	int rc;

	snprintf(name, sizeof(name), "%#x.%#x", from, to);
	fresh_attached(IMG_P, from);
	remember();
	state = "status64";
	rc = did(ioctl(dev, LOOP_SET_STATUS64, &info));
	if (!report(name, rc)) {
		fresh_attached(IMG_P, from);
		remember();
	}
	state = "status";
	rc = did(ioctl(dev, LOOP_SET_STATUS, &old));
	report(name, rc);
}

void group_flags(void)
{
	static const uint32_t flags[] = {
		0, 1, 2, 4, 8, 16, 32, 64, 0x8000, 0x80000000, 5, 13, 17, 20,
		24, 29, 0x1f, 0x3f, 0xffffffff,
	};
	static const uint32_t from[] = { 4, 8, 17, 29 };
	static const uint32_t to[] = { 0, 1, 4, 8, 16, 0x1f };
	unsigned int i, k;
	char name[64];
	int rc;

	state = "configure";
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		fresh();
		remember();
		rc = did(lt_configure(dev, image[IMG_P].rw, 0, flags[i], 0,
				      0));
		snprintf(name, sizeof(name), "%#x", flags[i]);
		report(name, rc);
		if (rc < 0) {
			snprintf(name, sizeof(name), "%#x.then", flags[i]);
			rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_P].rw));
			report(name, rc);
		}
	}
	for (i = 0; i < ARRAY_SIZE(flags); i++)
		flags_to(0, flags[i]);
	for (i = 0; i < ARRAY_SIZE(from); i++)
		for (k = 0; k < ARRAY_SIZE(to); k++)
			flags_to(from[i], to[k]);
	leave();
}

/* The other fields of the structures */

struct field_case {
	const char *name;
	void (*set)(struct loop_info64 *info);
};

#define FIELD_CASE(id, ...)						\
static void set_##id(struct loop_info64 *info)				\
{									\
	__VA_ARGS__;							\
}

FIELD_CASE(offset_1, info->lo_offset = 1)
FIELD_CASE(offset_512, info->lo_offset = 512)
FIELD_CASE(offset_1000, info->lo_offset = 1000)
FIELD_CASE(offset_4096, info->lo_offset = 4096)
FIELD_CASE(offset_last, info->lo_offset = IMAGE_SIZE - 512)
FIELD_CASE(offset_end, info->lo_offset = IMAGE_SIZE)
FIELD_CASE(offset_past, info->lo_offset = IMAGE_SIZE + 512)
FIELD_CASE(offset_tib, info->lo_offset = 1ULL << 40)
FIELD_CASE(offset_max, info->lo_offset = LLONG_MAX)
FIELD_CASE(offset_min, info->lo_offset = 1ULL << 63)
FIELD_CASE(offset_ones, info->lo_offset = ~0ULL)
FIELD_CASE(limit_1, info->lo_sizelimit = 1)
FIELD_CASE(limit_511, info->lo_sizelimit = 511)
FIELD_CASE(limit_512, info->lo_sizelimit = 512)
FIELD_CASE(limit_1000, info->lo_sizelimit = 1000)
FIELD_CASE(limit_64k, info->lo_sizelimit = 65536)
FIELD_CASE(limit_all, info->lo_sizelimit = IMAGE_SIZE)
FIELD_CASE(limit_past, info->lo_sizelimit = IMAGE_SIZE + 4096)
FIELD_CASE(limit_max, info->lo_sizelimit = LLONG_MAX)
FIELD_CASE(limit_min, info->lo_sizelimit = 1ULL << 63)
FIELD_CASE(limit_ones, info->lo_sizelimit = ~0ULL)
FIELD_CASE(window, info->lo_offset = 4096, info->lo_sizelimit = 8192)
FIELD_CASE(window_odd, info->lo_offset = 1000, info->lo_sizelimit = 3000)
FIELD_CASE(window_past, info->lo_offset = IMAGE_SIZE - 4096,
	   info->lo_sizelimit = 8192)
FIELD_CASE(window_max, info->lo_offset = LLONG_MAX - 511,
	   info->lo_sizelimit = 512)
FIELD_CASE(window_wrap, info->lo_offset = LLONG_MAX,
	   info->lo_sizelimit = LLONG_MAX)
FIELD_CASE(enc_xor, info->lo_encrypt_type = LO_CRYPT_XOR)
FIELD_CASE(enc_des, info->lo_encrypt_type = LO_CRYPT_DES)
FIELD_CASE(enc_api, info->lo_encrypt_type = LO_CRYPT_CRYPTOAPI)
FIELD_CASE(enc_19, info->lo_encrypt_type = MAX_LO_CRYPT - 1)
FIELD_CASE(enc_20, info->lo_encrypt_type = MAX_LO_CRYPT)
FIELD_CASE(enc_ones, info->lo_encrypt_type = ~0U)
FIELD_CASE(key_1, info->lo_encrypt_key_size = 1,
	   memset(info->lo_encrypt_key, 'k', LO_KEY_SIZE))
FIELD_CASE(key_32, info->lo_encrypt_key_size = 32,
	   memset(info->lo_encrypt_key, 'k', LO_KEY_SIZE))
FIELD_CASE(key_33, info->lo_encrypt_key_size = 33)
FIELD_CASE(key_ones, info->lo_encrypt_key_size = ~0U)
FIELD_CASE(key_0, memset(info->lo_encrypt_key, 'k', LO_KEY_SIZE))
FIELD_CASE(xor_key, info->lo_encrypt_type = LO_CRYPT_XOR,
	   info->lo_encrypt_key_size = 8,
	   memset(info->lo_encrypt_key, 'k', LO_KEY_SIZE))
FIELD_CASE(init, info->lo_init[0] = 1, info->lo_init[1] = 2)
FIELD_CASE(name, memcpy(info->lo_file_name, "some name", 10))
FIELD_CASE(name_63, memset(info->lo_file_name, 'n', 63))
FIELD_CASE(name_64, memset(info->lo_file_name, 'n', 64))
FIELD_CASE(crypt, memcpy(info->lo_crypt_name, "some name", 10))
FIELD_CASE(crypt_64, memset(info->lo_crypt_name, 'c', 64))
FIELD_CASE(names_bytes, memset(info->lo_file_name, 0xff, 64),
	   memset(info->lo_crypt_name, 1, 64))
FIELD_CASE(number, info->lo_number = 7)
FIELD_CASE(device, info->lo_device = 1, info->lo_inode = 2,
	   info->lo_rdevice = 3)
FIELD_CASE(bad_all, info->lo_offset = ~0ULL, info->lo_encrypt_key_size = 33,
	   info->lo_encrypt_type = 20, info->lo_flags = LO_FLAGS_PARTSCAN)
FIELD_CASE(bad_type_name, info->lo_encrypt_type = 20,
	   memcpy(info->lo_file_name, "half done", 10),
	   info->lo_flags = LO_FLAGS_AUTOCLEAR)
FIELD_CASE(bad_offset_name, info->lo_offset = 1ULL << 63,
	   memcpy(info->lo_file_name, "half done", 10),
	   info->lo_flags = LO_FLAGS_AUTOCLEAR)

#define F(id) { #id, set_##id }

static const struct field_case field_cases[] = {
	F(offset_1), F(offset_512), F(offset_1000), F(offset_4096),
	F(offset_last), F(offset_end), F(offset_past), F(offset_tib),
	F(offset_max), F(offset_min), F(offset_ones), F(limit_1), F(limit_511),
	F(limit_512), F(limit_1000), F(limit_64k), F(limit_all), F(limit_past),
	F(limit_max), F(limit_min), F(limit_ones), F(window), F(window_odd),
	F(window_past), F(window_max), F(window_wrap), F(enc_xor), F(enc_des),
	F(enc_api), F(enc_19), F(enc_20), F(enc_ones), F(key_1), F(key_32),
	F(key_33), F(key_ones), F(key_0), F(xor_key), F(init), F(name),
	F(name_63), F(name_64), F(crypt), F(crypt_64), F(names_bytes),
	F(number), F(device), F(bad_all), F(bad_type_name), F(bad_offset_name),
};

#undef F

static void field_by_configure(const struct field_case *f)
{
	struct loop_config c = { .fd = image[IMG_A].rw };
	char name[64];
	int rc;

	state = "configure";
	fresh();
	remember();
	f->set(&c.info);
	name_case(f->name);
	rc = did(ioctl(dev, LOOP_CONFIGURE, &c));
	report(f->name, rc);
	if (rc < 0) {
		snprintf(name, sizeof(name), "%s.then", f->name);
		rc = did(ioctl(dev, LOOP_SET_FD, image[IMG_A].rw));
		report(name, rc);
	}
}

static void field_by_status64(const struct field_case *f)
{
	struct loop_info64 info = { 0 };
	int rc;

	state = "status64";
	f->set(&info);
	name_case(f->name);
	rc = did(ioctl(dev, LOOP_SET_STATUS64, &info));
	if (!report(f->name, rc)) {
		enter_attached();
		remember();
	}
}

/* Sets as much of the new structure as the old one has room for. */
static void field_by_status(const struct field_case *f)
{
	struct loop_info64 info = { 0 };
	struct loop_info old = { 0 };
	int rc;

	state = "status";
	f->set(&info);
	if (info.lo_sizelimit)
		return;
	old.lo_number = info.lo_number;
	old.lo_device = info.lo_device;
	old.lo_inode = info.lo_inode;
	old.lo_rdevice = info.lo_rdevice;
	old.lo_offset = info.lo_offset;
	old.lo_encrypt_type = info.lo_encrypt_type;
	old.lo_encrypt_key_size = info.lo_encrypt_key_size;
	old.lo_flags = info.lo_flags;
	memcpy(old.lo_name, info.lo_file_name, LO_NAME_SIZE);
	if (info.lo_encrypt_type == LO_CRYPT_CRYPTOAPI)
		memcpy(old.lo_name, "cipher", 7);
	memcpy(old.lo_encrypt_key, info.lo_encrypt_key, LO_KEY_SIZE);
	old.lo_init[0] = info.lo_init[0];
	old.lo_init[1] = info.lo_init[1];
	name_case(f->name);
	rc = did(ioctl(dev, LOOP_SET_STATUS, &old));
	if (!report(f->name, rc)) {
		enter_attached();
		remember();
	}
}

/*
 * LOOP_GET_STATUS returns values that fit into the old structure, and some that
 * do not.
 */
static void get_old(const char *name, uint64_t offset, uint64_t limit,
		    const char *file_name)
{
	struct loop_config c = { .fd = image[IMG_A].rw };
	struct loop_info old;
	struct lt_buf words = { 0 };
	int rc;

	state = "get_status";
	fresh();
	c.info.lo_offset = offset;
	c.info.lo_sizelimit = limit;
	c.info.lo_flags = LO_FLAGS_PARTSCAN;
	if (file_name)
		memcpy(c.info.lo_file_name, file_name,
		       strnlen(file_name, LO_NAME_SIZE));
	memcpy(c.info.lo_crypt_name, "crypt", 6);
	if (ioctl(dev, LOOP_CONFIGURE, &c)) {
		report_only(name, -1, "configure");
		return;
	}
	memset(&old, 0x5a, sizeof(old));
	rc = did(ioctl(dev, LOOP_GET_STATUS, &old));
	if (!rc) {
		struct stat st;

		fstat(image[IMG_A].rw, &st);
		lt_add(&words,
		       "num=%d dev=%d ino=%d rdev=%d off=%d enc=%d/%d fl=%d name=",
		       old.lo_number,
		       old.lo_device == (typeof(old.lo_device))
				lt_huge_dev(st.st_dev),
		       old.lo_inode == st.st_ino, !old.lo_rdevice,
		       old.lo_offset, old.lo_encrypt_type,
		       old.lo_encrypt_key_size, old.lo_flags);
		lt_add_name(&words, old.lo_name, LO_NAME_SIZE);
		lt_add(&words, " key=%s init=%lu/%lu reserved=%02x%02x%02x%02x",
		       lt_zeroed(old.lo_encrypt_key, LO_KEY_SIZE) ? "0" : "?",
		       old.lo_init[0], old.lo_init[1], old.reserved[0] & 0xff,
		       old.reserved[1] & 0xff, old.reserved[2] & 0xff,
		       old.reserved[3] & 0xff);
	}
	report_only(name, rc, "%s", words.s);
}

void group_fields(void)
{
	struct loop_config c = { .fd = image[IMG_A].rw };
	char name[64];
	unsigned int i;
	int rc;

	/* These two structures are the same for all word sizes. */
	for (i = 0; i < ARRAY_SIZE(field_cases) && !brief; i++)
		field_by_configure(&field_cases[i]);
	enter_attached();
	remember();
	for (i = 0; i < ARRAY_SIZE(field_cases) && !brief; i++)
		field_by_status64(&field_cases[i]);
	enter_attached();
	remember();
	for (i = 0; i < ARRAY_SIZE(field_cases); i++)
		field_by_status(&field_cases[i]);

	state = "reserved";
	for (i = 0; i < 8; i++) {
		fresh();
		remember();
		c.__reserved[i] = i % 2 ? 1 : 1ULL << 63;
		rc = did(ioctl(dev, LOOP_CONFIGURE, &c));
		snprintf(name, sizeof(name), "%u", i);
		report(name, rc);
		c.__reserved[i] = 0;
	}

	get_old("plain", 0, 0, NULL);
	get_old("offset", 4096, 0, "a name");
	get_old("limit", 0, 65536, "a name");
	get_old("long_name", 0, 0,
		"1234567890123456789012345678901234567890123456789012345678901234");
	get_old("offset_2g", 0x7ffffe00, 0, NULL);
	get_old("offset_4g", 0x80000000, 0, NULL);
	get_old("offset_8g", 0x200000000ULL, 0, NULL);
	leave();
}

/* User pointers: the structures end at the end of memory, or a little behind it */

struct pointer_call {
	const char *name;
	unsigned int cmd;
	size_t size;
	const uint16_t *bounds;
};

#define OFF64(f) offsetof(struct loop_info64, f)
#define OFF(f) offsetof(struct loop_info, f)
#define OFFC(f) offsetof(struct loop_config, f)

static const uint16_t bounds64[] = {
	0, 1, OFF64(lo_inode), OFF64(lo_rdevice), OFF64(lo_offset),
	OFF64(lo_sizelimit), OFF64(lo_number), OFF64(lo_encrypt_type),
	OFF64(lo_encrypt_key_size), OFF64(lo_flags), OFF64(lo_file_name),
	OFF64(lo_crypt_name), OFF64(lo_encrypt_key), OFF64(lo_init),
	OFF64(lo_init) + 8, sizeof(struct loop_info64) - 1,
	sizeof(struct loop_info64),
};

static const uint16_t bounds_old[] = {
	0, 1, OFF(lo_device), OFF(lo_inode), OFF(lo_rdevice), OFF(lo_offset),
	OFF(lo_encrypt_type), OFF(lo_encrypt_key_size), OFF(lo_flags),
	OFF(lo_name), OFF(lo_encrypt_key), OFF(lo_init),
	OFF(lo_init) + sizeof(long), OFF(reserved),
	sizeof(struct loop_info) - 1, sizeof(struct loop_info),
};

static const uint16_t bounds_config[] = {
	0, 1, OFFC(block_size), OFFC(info), OFFC(info.lo_inode),
	OFFC(info.lo_rdevice), OFFC(info.lo_offset), OFFC(info.lo_sizelimit),
	OFFC(info.lo_number), OFFC(info.lo_encrypt_type),
	OFFC(info.lo_encrypt_key_size), OFFC(info.lo_flags),
	OFFC(info.lo_file_name), OFFC(info.lo_crypt_name),
	OFFC(info.lo_encrypt_key), OFFC(info.lo_init), OFFC(__reserved),
	OFFC(__reserved[1]), OFFC(__reserved[7]),
	sizeof(struct loop_config) - 1, sizeof(struct loop_config),
};

static void try_pointer(const char *what, unsigned int cmd, size_t size,
			size_t have)
{
	struct loop_config *c;
	uint8_t *at = lt_edge() - have;
	uint8_t copy[sizeof(*c)] = { 0 };
	char name[64];
	int rc;

	if (cmd == LOOP_CONFIGURE) {
		c = (struct loop_config *)copy;
		c->fd = image[IMG_B].rw;
	}
	memcpy(at, copy, have);
	snprintf(name, sizeof(name), "%s.%zu_of_%zu", what, have, size);
	name_case(name);
	rc = did(ioctl(dev, cmd, at));
	if (!report(name, rc)) {
		if (cmd == LOOP_CONFIGURE)
			fresh();
		else
			enter_attached();
		remember();
	}
}

static void try_pointers(const char *what, unsigned int cmd,
			 const uint16_t *bounds, unsigned int count)
{
	static uint8_t misaligned[sizeof(struct loop_config) + 8];
	size_t size = bounds[count - 1];
	char name[64];
	unsigned int i;
	int rc;

	for (i = 0; i < count; i++)
		try_pointer(what, cmd, size, bounds[i]);
	snprintf(name, sizeof(name), "%s.null", what);
	rc = did(ioctl(dev, cmd, NULL));
	report(name, rc);
	snprintf(name, sizeof(name), "%s.kernel", what);
	rc = did(ioctl(dev, cmd, (void *)-4096L));
	report(name, rc);
	snprintf(name, sizeof(name), "%s.misaligned", what);
	if (cmd == LOOP_CONFIGURE)
		memcpy(misaligned + 1, &(int){ -1 }, sizeof(int));
	rc = did(ioctl(dev, cmd, misaligned + 1));
	report(name, rc);
}

void group_pointers(void)
{
	enter_attached();
	remember();
	state = "attached";
	try_pointers("set_status64", LOOP_SET_STATUS64, bounds64,
		     ARRAY_SIZE(bounds64));
	try_pointers("get_status64", LOOP_GET_STATUS64, bounds64,
		     ARRAY_SIZE(bounds64));
	try_pointers("set_status", LOOP_SET_STATUS, bounds_old,
		     ARRAY_SIZE(bounds_old));
	try_pointers("get_status", LOOP_GET_STATUS, bounds_old,
		     ARRAY_SIZE(bounds_old));
	fresh();
	remember();
	state = "free";
	try_pointers("configure", LOOP_CONFIGURE, bounds_config,
		     ARRAY_SIZE(bounds_config));
	leave();
}
