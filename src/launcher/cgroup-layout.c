// SPDX-License-Identifier: Apache-2.0
// Where the hierarchies are mounted, and this instance's own groups in them.
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "launcher/cgroup.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const char *const controller_names[] = {
    [CGROUP_CPU] = "cpu",
    [CGROUP_MEMORY] = "memory",
    [CGROUP_PIDS] = "pids",
};
static_assert(ARRAY_SIZE(controller_names) == CGROUP_CONTROLLER_MAX, "a name for each controller");

enum {
    MOUNTINFO_MAX = 1024 * 1024, // hosts with thousands of containers stay below
    CONTROLLERS_MAX = 4096,
    SWEEP_TRIES = 200, // of 10 ms: dying processes leave their group
};

const char *
cgroup_controller_name(enum cgroup_controller controller)
{
    return controller_names[controller];
}

bool
cgroup_controllers_has(const char *text, const char *name)
{
    size_t size = strlen(name);
    while (*text != '\0') {
        size_t word = strcspn(text, ", \n");
        if (word == size && memcmp(text, name, size) == 0)
            return true;
        text += word;
        text += strspn(text, ", \n");
    }
    return false;
}

// Undoes the \ooo escapes of mountinfo.
static int
unescape(char *out, size_t capacity, const char *text)
{
    size_t used = 0;
    for (; *text != '\0'; text++) {
        if (used + 1 >= capacity)
            return -1;
        if (text[0] == '\\' && isdigit((unsigned char)text[1]) && isdigit((unsigned char)text[2]) &&
            isdigit((unsigned char)text[3])) {
            out[used++] = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
            text += 3;
        } else {
            out[used++] = *text;
        }
    }
    out[used] = '\0';
    return 0;
}

// Fields of a line: id parent device root MOUNT-POINT options [tags…] - TYPE source OPTIONS
static void
parse_line(struct cgroup_layout *layout, char *line)
{
    char *tail = strstr(line, " - ");
    if (tail == NULL)
        return;
    *tail = '\0';
    char *save = NULL;
    char *point = strtok_r(line, " ", &save);
    for (int field = 1; field < 5 && point != NULL; field++)
        point = strtok_r(NULL, " ", &save);
    char *type = strtok_r(tail + 3, " ", &save);
    char *source = type != NULL ? strtok_r(NULL, " ", &save) : NULL;
    char *options = source != NULL ? strtok_r(NULL, " ", &save) : NULL;
    if (point == NULL || options == NULL)
        return;
    if (strcmp(type, "cgroup2") == 0 && layout->v2[0] == '\0')
        (void)unescape(layout->v2, sizeof layout->v2, point);
    if (strcmp(type, "cgroup") != 0)
        return;
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (layout->v1[c][0] == '\0' && cgroup_controllers_has(options, controller_names[c]))
            (void)unescape(layout->v1[c], sizeof layout->v1[c], point);
    }
}

int
cgroup_layout_parse(struct cgroup_layout *layout, const char *mountinfo, struct error *err)
{
    cleanup_free char *copy = strdup(mountinfo);
    if (copy == NULL)
        return error_set_errno(err, ENOMEM, "read mountinfo");
    layout->v2[0] = '\0';
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX; c++)
        layout->v1[c][0] = '\0';
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
        parse_line(layout, line);
    if (layout->v2[0] == '\0')
        return error_set(err, ERR_UNAVAILABLE, "no cgroup version 2 hierarchy is mounted");
    return 0;
}

static int
read_text(const char *path, struct buf *out, struct error *err)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "open %s", path);
    for (;;) {
        uint8_t *room = buf_reserve(out, 4096);
        if (room == NULL)
            return error_set(err, ERR_SYSTEM, "%s is too long", path);
        ssize_t n = read(fd, room, 4096);
        if (n < 0)
            return error_set_errno(err, errno, "read %s", path);
        if (n == 0)
            break;
        buf_commit(out, (size_t)n);
    }
    return buf_append(out, "", 1) < 0 ? error_set(err, ERR_SYSTEM, "%s is too long", path) : 0;
}

// Gives the controllers that are not on version 1 to the children of the group at path.
static int
enable_controllers(const struct cgroup_layout *layout, const char *path, struct error *err)
{
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (layout->v1[c][0] != '\0')
            continue;
        char file[CGROUP_PATH_MAX * 2];
        char text[16];
        (void)snprintf(file, sizeof file, "%s/cgroup.subtree_control", path);
        (void)snprintf(text, sizeof text, "+%s", controller_names[c]);
        int r = fd_write_file(file, text);
        if (r < 0)
            return error_set_errno(err, -r, "enable controller %s in %s", controller_names[c],
                                   path);
    }
    return 0;
}

static int
check_controllers(const struct cgroup_layout *layout, struct error *err)
{
    char path[CGROUP_PATH_MAX * 2];
    cleanup_buf struct buf text;
    buf_init(&text, CONTROLLERS_MAX * 2);
    (void)snprintf(path, sizeof path, "%s/cgroup.controllers", layout->v2);
    if (read_text(path, &text, err) < 0)
        return -1;
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (layout->v1[c][0] == '\0' &&
            !cgroup_controllers_has((const char *)buf_bytes(&text), controller_names[c]))
            return error_set(err, ERR_UNAVAILABLE, "this host has no cgroup controller %s",
                             controller_names[c]);
    }
    return 0;
}

static void
instance_path(const struct cgroup_layout *layout, const char *root, char *out, size_t capacity)
{
    (void)snprintf(out, capacity, "%s/casemate-%s", root, layout->instance);
}

static int
make_instance(const struct cgroup_layout *layout, const char *root, struct error *err)
{
    char path[CGROUP_PATH_MAX * 2];
    instance_path(layout, root, path, sizeof path);
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "make group %s", path);
    return 0;
}

int
cgroup_layout_init(struct cgroup_layout *layout, const char *instance, struct error *err)
{
    cleanup_buf struct buf mountinfo;
    buf_init(&mountinfo, MOUNTINFO_MAX);
    if (read_text("/proc/self/mountinfo", &mountinfo, err) < 0 ||
        cgroup_layout_parse(layout, (const char *)buf_bytes(&mountinfo), err) < 0 ||
        check_controllers(layout, err) < 0)
        return -1;
    (void)snprintf(layout->instance, sizeof layout->instance, "%s", instance);
    char path[CGROUP_PATH_MAX * 2];
    instance_path(layout, layout->v2, path, sizeof path);
    if (enable_controllers(layout, layout->v2, err) < 0 ||
        make_instance(layout, layout->v2, err) < 0 || enable_controllers(layout, path, err) < 0)
        return -1;
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (layout->v1[c][0] != '\0' && make_instance(layout, layout->v1[c], err) < 0)
            return -1;
    }
    return 0;
}

void
cgroup_layout_describe(const struct cgroup_layout *layout, char *out, size_t capacity)
{
    size_t used = (size_t)snprintf(out, capacity, "cgroup v2");
    const char *before = ", v1: ";
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX && used < capacity; c++) {
        if (layout->v1[c][0] == '\0')
            continue;
        used += (size_t)snprintf(out + used, capacity - used, "%s%s", before, controller_names[c]);
        before = " ";
    }
}

bool
cgroup_layout_has_v1(const struct cgroup_layout *layout)
{
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (layout->v1[c][0] != '\0')
            return true;
    }
    return false;
}

void
cgroup_layout_kill(const struct cgroup_layout *layout)
{
    char path[CGROUP_PATH_MAX * 2];
    instance_path(layout, layout->v2, path, sizeof path);
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (ident_is_sandbox(entry->d_name, strlen(entry->d_name)))
            cgroup_kill(layout, entry->d_name);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

static int
sweep_one(const struct cgroup_layout *layout, const char *id, struct error *err)
{
    for (int tries = 0; tries < SWEEP_TRIES; tries++) {
        cgroup_kill(layout, id);
        int r = cgroup_remove(layout, id, err);
        if (r != 0)
            return r < 0 ? -1 : 0;
        (void)nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    return error_set(err, ERR_SYSTEM, "group %s of an earlier run does not empty", id);
}

// Every root is looked at: a launcher that was killed may have made some of a sandbox's groups.
static int
sweep_root(const struct cgroup_layout *layout, const char *root, unsigned *count, struct error *err)
{
    char path[CGROUP_PATH_MAX * 2];
    instance_path(layout, root, path, sizeof path);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return errno == ENOENT ? 0 : error_set_errno(err, errno, "open %s", path);
    int r = 0;
    struct dirent *entry;
    while (r == 0 && (entry = readdir(dir)) != NULL) {
        if (!ident_is_sandbox(entry->d_name, strlen(entry->d_name)))
            continue;
        r = sweep_one(layout, entry->d_name, err);
        (*count)++;
    }
    (void)closedir(dir);
    return r;
}

int
cgroup_layout_sweep(const struct cgroup_layout *layout, unsigned *ret_count, struct error *err)
{
    unsigned count = 0;
    if (sweep_root(layout, layout->v2, &count, err) < 0)
        return -1;
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (layout->v1[c][0] != '\0' && sweep_root(layout, layout->v1[c], &count, err) < 0)
            return -1;
    }
    *ret_count = count;
    return 0;
}

void
cgroup_layout_remove(const struct cgroup_layout *layout)
{
    char path[CGROUP_PATH_MAX * 2];
    instance_path(layout, layout->v2, path, sizeof path);
    (void)rmdir(path);
    for (unsigned c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (layout->v1[c][0] == '\0')
            continue;
        instance_path(layout, layout->v1[c], path, sizeof path);
        (void)rmdir(path);
    }
}
