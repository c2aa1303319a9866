// SPDX-License-Identifier: Apache-2.0
#include "init/setup.h"

#include "base/fd.h"
#include "base/ident.h"
#include "base/log.h"
#include "base/mem.h"
#include "init/denials.h"
#include "init/identity.h"
#include "init/keystore.h"
#include "wire/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MACHINE_ID_BYTES = 16,
    FILE_MODE = 0644,
    DIRECTORY_MODE = 0755,
};

void
setup_init(struct setup *s, struct env *env)
{
    *s = (struct setup){.env = env};
    buf_init(&s->bundle, SETUP_BUNDLE_MAX + SETUP_CA_MAX + 1);
    buf_init(&s->ca, SETUP_CA_MAX);
}

// Replaces the file at once, never opening what is there: on a root volume that may be anything.
static int
replace_file(const char *path, const void *data, size_t size)
{
    cleanup_free char *temporary = xasprintf("%s.casemate-new", path);
    (void)unlink(temporary);
    cleanup_fd int fd =
        open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return -errno;
    int r = fd_write_all(fd, data, size);
    if (r == 0 && (fchmod(fd, FILE_MODE) < 0 || rename(temporary, path) < 0))
        r = -errno;
    if (r < 0)
        (void)unlink(temporary);
    return r;
}

static void
write_file(const char *path, const void *data, size_t size)
{
    int r = replace_file(path, data, size);
    if (r == 0)
        return;
    log_error("cannot prepare the sandbox", "path", path, "error", strerrorname_np(-r));
    _exit(1);
}

static void
write_text(const char *path, const char *text)
{
    write_file(path, text, strlen(text));
}

// The file that an image with Java has, and no other; on a root volume it may be anything.
static int
read_keystore(struct buf *out)
{
    struct stat st;
    cleanup_fd int fd = open(KEYSTORE_PATH, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > KEYSTORE_MAX)
        return -EINVAL;
    uint8_t *room = buf_reserve(out, (size_t)st.st_size);
    int r = room != NULL ? fd_read_all(fd, room, (size_t)st.st_size) : -ENOMEM;
    if (r == 0)
        buf_commit(out, (size_t)st.st_size);
    return r;
}

// A sandbox whose Java cannot be told is still one.
static void
extend_keystore(const struct buf *bundle)
{
    cleanup_buf struct buf store;
    cleanup_buf struct buf extended = {0};
    buf_init(&store, KEYSTORE_MAX);
    int r = read_keystore(&store);
    if (r == -ENOENT)
        return;
    if (r == 0 && keystore_extend(&extended, buf_bytes(&store), buf_size(&store), bundle) < 0)
        r = -EINVAL;
    if (r == 0)
        r = replace_file(KEYSTORE_PATH, buf_bytes(&extended), buf_size(&extended));
    if (r < 0)
        log_warn("Java's trust store stays as it is", "error", strerrorname_np(-r));
}

static void
write_trust(struct setup *s)
{
    if (buf_size(&s->bundle) == 0 || buf_size(&s->ca) == 0) {
        log_warn("no roots were given: the image's own are trusted");
        return;
    }
    bool broken_line = buf_bytes(&s->bundle)[buf_size(&s->bundle) - 1] != '\n';
    (void)buf_append(&s->bundle, "\n", broken_line ? 1 : 0);
    (void)buf_append(&s->bundle, buf_bytes(&s->ca), buf_size(&s->ca));
    (void)mkdir("/etc/casemate", DIRECTORY_MODE);
    write_file(SETUP_CA_PATH, buf_bytes(&s->ca), buf_size(&s->ca));
    write_file(SETUP_BUNDLE_PATH, buf_bytes(&s->bundle), buf_size(&s->bundle));
    extend_keystore(&s->bundle);
    buf_done(&s->ca);
    buf_done(&s->bundle);
}

static void
write_names(void)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) < 0 || *host == '\0')
        (void)snprintf(host, sizeof host, "localhost");
    cleanup_free char *hostname = xasprintf("%s\n", host);
    cleanup_free char *hosts = xasprintf("127.0.0.1\tlocalhost\n"
                                         "127.0.1.1\t%s\n"
                                         "::1\tlocalhost ip6-localhost ip6-loopback\n",
                                         host);
    write_text("/etc/hostname", hostname);
    write_text("/etc/hosts", hosts);
}

static void
write_machine_id(void)
{
    uint8_t id[MACHINE_ID_BYTES];
    char text[2 * MACHINE_ID_BYTES + 2];
    ident_random_bytes(id, sizeof id);
    for (size_t i = 0; i < sizeof id; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", id[i]);
    text[sizeof text - 2] = '\n';
    write_file("/etc/machine-id", text, sizeof text - 1);
}

static int
set_env(struct setup *s, const struct frame *f)
{
    struct unpack u;
    char name[FRAME_PAYLOAD_MAX];
    char value[FRAME_PAYLOAD_MAX];
    unpack_init(&u, f->payload, f->size);
    unpack_str(&u, name, sizeof name);
    unpack_str(&u, value, sizeof value);
    if (!unpack_complete(&u) || !env_name_is_valid(name))
        return -1;
    return s->done || env_set(s->env, name, value) == 0 ? 0 : -1;
}

static int
add_trust(struct setup *s, const struct frame *f)
{
    if (f->number > 1)
        return -1;
    if (s->done)
        return 0;
    struct buf *b = f->number == 0 ? &s->bundle : &s->ca;
    size_t max = f->number == 0 ? SETUP_BUNDLE_MAX : SETUP_CA_MAX;
    return buf_size(b) + f->size <= max ? buf_append(b, f->payload, f->size) : -1;
}

int
setup_frame(void *setup, const struct frame *f, bool *ret_done)
{
    struct setup *s = setup;
    switch ((int)f->kind) {
    case FRAME_ENV:
        return set_env(s, f);
    case FRAME_TRUST:
        return add_trust(s, f);
    case FRAME_SETUP_DONE:
        if (!s->done) {
            write_trust(s);
            write_names();
            write_machine_id();
            identity_init();
            denials_init();
        }
        *ret_done = s->done = true;
        return 0;
    case FRAME_DENIAL:
        if (s->done)
            denials_add(f->payload, f->size);
        return s->done ? 0 : -1;
    case FRAME_COUNTS:
        if (s->done)
            denials_set_counts(f->payload, f->size);
        return s->done ? 0 : -1;
    default:
        return -1;
    }
}
