// SPDX-License-Identifier: Apache-2.0
// A small table, looked through from end to end: it is asked once a handshake, which costs a
// thousand times as much.
//
// A resumed handshake shows no certificate, so trust is as old as the first handshake under a key.
// That age is bounded here, and the certificate of then must still be good now.
#include "net/tls-session.h"

#include "base/clock.h"
#include "base/mem.h"
#include "net/tls.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum {
    SESSIONS_MAX = 32,               // stops names under a wildcard from eating memory
    SESSIONS_PER_KEY = 4,            // and one server that sends tickets without end
    SESSION_AGE_MS = 60 * 60 * 1000, // since the session was kept
    SESSION_SIZE_MAX = 16 * 1024,    // stops tickets that are as large as TLS allows
};

struct entry {
    SSL_SESSION *session; // NULL: free
    uint64_t number;      // in the order of their coming
    int64_t since_ms;
    char key[TLS_SESSION_KEY_MAX + 1];
};

struct tls_sessions {
    uint64_t next;
    struct entry entries[SESSIONS_MAX];
};

struct tls_sessions *
tls_sessions_new(void)
{
    return xcalloc(1, sizeof(struct tls_sessions));
}

static void
forget(struct entry *e)
{
    SSL_SESSION_free(e->session);
    e->session = NULL;
}

void
tls_sessions_free(struct tls_sessions *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        forget(&s->entries[i]);
    free(s);
}

// Where the next session under the key goes: in place of the oldest one of a key that has its
// share, else a free place, else that of the oldest of all.
static struct entry *
find_room(struct tls_sessions *s, const char *key)
{
    struct entry *oldest = NULL;
    struct entry *own = NULL;
    struct entry *empty = NULL;
    unsigned count = 0;
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct entry *e = &s->entries[i];
        if (e->session == NULL) {
            empty = e;
            continue;
        }
        if (oldest == NULL || e->number < oldest->number)
            oldest = e;
        if (strcmp(e->key, key) == 0 && ++count > 0 && (own == NULL || e->number < own->number))
            own = e;
    }
    if (count >= SESSIONS_PER_KEY)
        return own;
    return empty != NULL ? empty : oldest;
}

void
tls_sessions_put(struct tls_sessions *s, const char *key, SSL_SESSION *session)
{
    size_t size = strlen(key);
    int encoded = i2d_SSL_SESSION(session, NULL);
    if (size > TLS_SESSION_KEY_MAX || encoded <= 0 || encoded > SESSION_SIZE_MAX ||
        SSL_SESSION_get0_peer(session) == NULL || SSL_SESSION_up_ref(session) != 1)
        return;
    struct entry *e = find_room(s, key);
    forget(e);
    e->session = session;
    e->number = ++s->next;
    e->since_ms = clock_monotonic_ms();
    memcpy(e->key, key, size + 1);
}

static bool
is_good(const struct entry *e, const char *name)
{
    X509 *peer = SSL_SESSION_get0_peer(e->session);
    return clock_monotonic_ms() - e->since_ms < SESSION_AGE_MS &&
           SSL_SESSION_is_resumable(e->session) == 1 &&
           X509_check_host(peer, name, 0, TLS_HOST_FLAGS, NULL) == 1 &&
           X509_cmp_current_time(X509_get0_notAfter(peer)) > 0;
}

static struct entry *
find_newest(struct tls_sessions *s, const char *key)
{
    struct entry *newest = NULL;
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct entry *e = &s->entries[i];
        if (e->session != NULL && strcmp(e->key, key) == 0 &&
            (newest == NULL || e->number > newest->number))
            newest = e;
    }
    return newest;
}

SSL_SESSION *
tls_sessions_take(struct tls_sessions *s, const char *key, const char *name)
{
    struct entry *e;
    while ((e = find_newest(s, key)) != NULL) {
        if (is_good(e, name)) {
            SSL_SESSION *session = e->session;
            e->session = NULL;
            return session;
        }
        forget(e);
    }
    return NULL;
}
