// SPDX-License-Identifier: Apache-2.0
#include "init/identity.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { GROUP_FILE_MAX = 1024 * 1024 };

// The number of groups that a line of /etc/group puts app in, none or one:
// name:password:gid:user,user
static size_t
parse_group(char *line, gid_t *ret)
{
    char *members = strrchr(line, ':');
    if (members == NULL)
        return 0;
    *members++ = '\0';
    char *gid = strrchr(line, ':');
    if (gid == NULL)
        return 0;
    char *end;
    errno = 0;
    unsigned long v = strtoul(gid + 1, &end, 10);
    if (errno != 0 || end == gid + 1 || *end != '\0' || v > UINT16_MAX)
        return 0;
    char *rest;
    for (char *user = strtok_r(members, ",", &rest); user != NULL;
         user = strtok_r(NULL, ",", &rest))
        if (strcmp(user, "app") == 0) {
            *ret = (gid_t)v;
            return 1;
        }
    return 0;
}

static size_t
read_groups(gid_t groups[APP_GROUPS_MAX])
{
    size_t count = 0;
    groups[count++] = APP_GID;
    // Not opened blindly: on a root volume this may be anything by now.
    int fd = open("/etc/group", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > GROUP_FILE_MAX) {
        if (fd >= 0)
            (void)close(fd);
        return count;
    }
    FILE *f = fdopen(fd, "re");
    char line[4096];
    while (f != NULL && count < APP_GROUPS_MAX && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        count += parse_group(line, &groups[count]);
    }
    if (f != NULL)
        (void)fclose(f);
    return count;
}

void
identity_init(void)
{
    gid_t groups[APP_GROUPS_MAX];
    size_t count = read_groups(groups);
    if (setgroups(count, groups) < 0) {
        log_error("cannot take on the groups of app", "error", strerrorname_np(errno));
        abort();
    }
}

// The system calls themselves: after fork, libc's wrappers may want locks.
static void
set_ids(uid_t ruid, uid_t euid, uid_t suid, gid_t rgid, gid_t egid, gid_t sgid, bool group_first)
{
    for (int i = 0; i < 2; i++) {
        bool group = group_first == (i == 0);
        if ((group ? syscall(SYS_setresgid, rgid, egid, sgid)
                   : syscall(SYS_setresuid, ruid, euid, suid)) < 0)
            abort();
    }
}

static const uid_t KEEP = (uid_t)-1;

struct as_app
as_app_begin(void)
{
    set_ids(KEEP, APP_UID, KEEP, KEEP, APP_GID, KEEP, /* group_first= */ true);
    return (struct as_app){.active = true};
}

void
as_app_end(struct as_app *a)
{
    if (a->active)
        set_ids(KEEP, 0, KEEP, KEEP, 0, KEEP, /* group_first= */ false);
    a->active = false;
}

void
identity_become_app(void)
{
    set_ids(APP_UID, APP_UID, APP_UID, APP_GID, APP_GID, APP_GID, /* group_first= */ true);
}

int
app_path_set(struct app_path *ret, const char *path)
{
    size_t size = strlen(path);
    if (size >= PATH_MAX)
        return -ENAMETOOLONG;
    bool relative = size > 0 && path[0] != '/';
    (void)snprintf(ret->text, sizeof ret->text, "%s%s", relative ? APP_HOME "/" : "", path);
    return 0;
}
