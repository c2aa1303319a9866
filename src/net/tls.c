// SPDX-License-Identifier: Apache-2.0
// OpenSSL sees the lower stream through a BIO of ours: its write goes into stream_write (which
// always takes everything), the records of one tls_write together; its read takes from the bytes
// that the lower stream has just handed over, so there is no copy on the way in. Only what is left
// when the user pauses is kept, in held.
//
// States: HANDSHAKE -> OPEN -> CLOSING. The lower stream is read during the handshake, and from
// then on only while the user reads, so that a slow user stops the peer: at most one block of the
// lower stream waits in held. on_close comes when both the lower stream and our timer are closed,
// never inside a call by the user.
//
// The timer has two uses: at 0 ms it runs pump() outside the user's call, in CLOSING it bounds how
// long an alert may take to leave.
#include "net/tls-internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"

#include <assert.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

enum {
    TLS_BLOCK_SIZE = 64 * 1024, // four records at most in one on_data, or in one write below
    TLS_FLIGHT_SIZE = TLS_BLOCK_SIZE + 1024, // with what the records add
    TLS_HELD_MAX = 1024 * 1024, // stops a lower stream that ignores the pause from eating memory
    TLS_LINGER_MS = 1000,       // stops a peer that does not read from keeping a failed stream
    TLS_REPLIES_MAX = 1000,     // stops a peer that asks for new keys without end and reads none of
                                // our answers; in earnest one key serves 2^24 records
};

enum tls_state { TLS_HANDSHAKE, TLS_OPEN, TLS_CLOSING };

struct tls {
    struct stream stream; // first: a struct stream * of ours is a struct tls *
    struct stream *lower; // NULL once it has closed
    uv_timer_t timer;
    bool timer_closed;
    SSL *ssl;
    enum tls_state state;
    const uint8_t *alpn;
    size_t alpn_size;
    const uint8_t *span; // of the lower stream, not yet read by OpenSSL
    size_t span_size;
    struct buf held;
    struct tls_sessions *sessions; // client: NULL if none are kept
    char *session_key;
    bool pumping;
    bool writing;     // OpenSSL was asked to; else it answers the peer by itself
    unsigned replies; // of the latter, after the handshake
    bool active;      // bytes have passed since the timer was set
    bool reading;     // the user wants data
    bool full;        // the lower stream said so
    bool told_full;   // and the user knows
    bool broken;      // the lower stream takes no more bytes, but may have some for us
    bool sent_end;    // our close_notify is out
    bool got_end;     // the peer's has come
    bool lower_ended; // FIN
    bool unverified;
    bool failed; // why is set
    struct error why;
};

static BIO_METHOD *bio_method;

// Plaintext on its way to on_data. One loop, one thread, and no on_data inside another: pump() is
// entered from the loop only.
static uint8_t scratch[TLS_BLOCK_SIZE];

// Records of the tls_write under way: empty outside of it.
static uint8_t flight[TLS_FLIGHT_SIZE];
static size_t flight_size;

static struct tls *
tls_of(struct stream *s)
{
    return (struct tls *)s;
}

static int
write_lower(struct tls *t, const void *data, size_t size)
{
    int rc = t->broken ? -1 : stream_write(t->lower, data, size);
    t->full = t->full || rc == 1;
    // To OpenSSL, a failed write would be the end of reading, too.
    t->broken = t->broken || (rc < 0 && t->state == TLS_OPEN);
    return t->broken ? 0 : rc;
}

static int
flush_flight(struct tls *t)
{
    size_t size = flight_size;
    flight_size = 0;
    return size == 0 || write_lower(t, flight, size) >= 0 ? 0 : -1;
}

static int
bio_write(BIO *bio, const char *data, int size)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (t->lower == NULL || size < 0)
        return -1;
    if (t->state == TLS_OPEN && !t->writing && ++t->replies > TLS_REPLIES_MAX)
        return -1;
    if (t->writing && (size_t)size <= sizeof flight) {
        if ((size_t)size > sizeof flight - flight_size && flush_flight(t) != 0)
            return -1;
        memcpy(flight + flight_size, data, (size_t)size);
        flight_size += (size_t)size;
        return size;
    }
    return write_lower(t, data, (size_t)size) < 0 ? -1 : size;
}

static int
bio_read(BIO *bio, char *out, int size)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    bool from_held = buf_size(&t->held) > 0;
    size_t there = from_held ? buf_size(&t->held) : t->span_size;
    if (there == 0 || size <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t take = there < (size_t)size ? there : (size_t)size;
    if (from_held) {
        memcpy(out, buf_bytes(&t->held), take);
        buf_consume(&t->held, take);
    } else {
        memcpy(out, t->span, take);
        t->span += take;
        t->span_size -= take;
    }
    return (int)take;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

int
tls_init(struct error *err)
{
    if (bio_method != NULL)
        return 0;
    uint64_t options = OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS |
                       OPENSSL_INIT_LOAD_CRYPTO_STRINGS;
    if (OPENSSL_init_ssl(options, NULL) != 1)
        return error_set(err, ERR_INTERNAL, "cannot start OpenSSL");
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    if (m == NULL || !BIO_meth_set_write(m, bio_write) || !BIO_meth_set_read(m, bio_read) ||
        !BIO_meth_set_ctrl(m, bio_ctrl)) {
        BIO_meth_free(m);
        return error_set(err, ERR_INTERNAL, "cannot make a BIO method");
    }
    bio_method = m;
    return 0;
}

// --- what contexts ask of a stream ---

// The server gave a ticket: with TLS 1.3 at any time after the handshake. What we return says that
// we hold no reference of OpenSSL's.
int
tls_on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *t = SSL_get_app_data(ssl);
    if (t != NULL && t->sessions != NULL && SSL_get_verify_result(ssl) == X509_V_OK)
        tls_sessions_put(t->sessions, t->session_key, session);
    return 0;
}

int
tls_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                const unsigned char *in, unsigned int in_size, void *arg)
{
    (void)arg;
    struct tls *t = SSL_get_app_data(ssl);
    if (t->alpn_size == 0)
        return SSL_TLSEXT_ERR_NOACK;
    // The result points into one of the two lists; OpenSSL copies it before either goes away.
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_size, t->alpn, (unsigned)t->alpn_size, in, in_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

// --- closing ---

static void
free_tls(struct tls *t)
{
    SSL_free(t->ssl);
    buf_done(&t->held);
    free(t->session_key);
    free(t);
}

static void
finish(struct tls *t)
{
    if (t->lower != NULL || !t->timer_closed)
        return;
    if (t->stream.events != NULL && t->stream.events->on_close != NULL)
        t->stream.events->on_close(t->stream.user, t->failed ? &t->why : NULL);
    // Without this, OpenSSL holds that the session must not be resumed.
    SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    free_tls(t);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct tls *t = handle->data;
    t->timer_closed = true;
    finish(t);
}

// The lower stream goes now; the rest follows from its on_close.
static void
drop_lower(struct tls *t)
{
    if (t->lower != NULL)
        stream_close(t->lower);
}

static void on_timer(uv_timer_t *timer);

// A third use of the timer: some time after the last bytes it gives OpenSSL's buffers back (34 KB),
// so that idle connections are small.
enum { TLS_REST_MS = 1000 };

static void
put_off_rest(struct tls *t)
{
    t->active = true;
    if (t->state == TLS_OPEN && !uv_is_active((uv_handle_t *)&t->timer))
        uv_timer_start(&t->timer, on_timer, TLS_REST_MS, 0);
}

static void
fail(struct tls *t, const struct error *why)
{
    if (t->state == TLS_CLOSING)
        return;
    t->state = TLS_CLOSING;
    t->failed = true;
    t->why = *why;
    if (t->lower == NULL)
        return;
    if (stream_queued(t->lower) == 0) {
        drop_lower(t);
        return;
    }
    stream_shutdown(t->lower);
    stream_read_start(t->lower);
    uv_timer_start(&t->timer, on_timer, TLS_LINGER_MS, 0);
}

static void
fail_ssl(struct tls *t, const char *what)
{
    struct error err = {0};
    long verdict = SSL_is_server(t->ssl) ? X509_V_OK : SSL_get_verify_result(t->ssl);
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);
    if (verdict != X509_V_OK) {
        t->unverified = true;
        (void)error_set(&err, ERR_PROTOCOL, "certificate not accepted: %s",
                        X509_verify_cert_error_string(verdict));
    } else {
        (void)error_set(&err, ERR_PROTOCOL, "%s: %s", what,
                        reason != NULL ? reason : "connection lost");
    }
    ERR_clear_error();
    fail(t, &err);
}

static void
fail_text(struct tls *t, const char *text)
{
    struct error err = {0};
    (void)error_set(&err, ERR_PROTOCOL, "%s", text);
    fail(t, &err);
}

// --- moving bytes ---

// A session of TLS 1.2 may serve again, and its server sends no new one.
static void
keep_old_session(struct tls *t)
{
    if (t->sessions != NULL && SSL_session_reused(t->ssl) && SSL_version(t->ssl) < TLS1_3_VERSION)
        tls_sessions_put(t->sessions, t->session_key, SSL_get0_session(t->ssl));
}

static void
handshake(struct tls *t)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    if (rc == 1) {
        t->state = TLS_OPEN;
        keep_old_session(t);
        if (!t->reading)
            stream_read_stop(t->lower);
        if (t->stream.events->on_open != NULL)
            t->stream.events->on_open(t->stream.user);
        return;
    }
    if (SSL_get_error(t->ssl, rc) != SSL_ERROR_WANT_READ)
        fail_ssl(t, "TLS handshake failed");
    else if (t->lower_ended)
        fail_text(t, "connection ended in the TLS handshake");
}

// To ask OpenSSL in vain costs as much as a small record.
static bool
has_more(const struct tls *t)
{
    return t->span_size > 0 || buf_size(&t->held) > 0 || SSL_has_pending(t->ssl) == 1;
}

// One block of what has come and its consequence; false when there is nothing more to read now.
static bool
read_once(struct tls *t)
{
    size_t size = 0;
    size_t got = 0;
    int rc;
    ERR_clear_error();
    while ((rc = SSL_read_ex(t->ssl, scratch + size, sizeof scratch - size, &got)) == 1) {
        size += got;
        if (size == sizeof scratch || !has_more(t))
            break;
    }
    if (size > 0) {
        // An end or a failure is met again by the next call, unless the user has stopped by then.
        t->stream.events->on_data(t->stream.user, scratch, size);
        explicit_bzero(scratch, size);
        return rc != 1 || has_more(t) || t->lower_ended;
    }
    int code = SSL_get_error(t->ssl, rc);
    if (code == SSL_ERROR_ZERO_RETURN) {
        t->got_end = true;
        stream_read_start(t->lower); // for its FIN
        if (t->stream.events->on_end != NULL)
            t->stream.events->on_end(t->stream.user);
    } else if (code != SSL_ERROR_WANT_READ) {
        fail_ssl(t, "TLS failed");
    } else if (t->lower_ended) {
        fail_text(t, "connection ended without close_notify");
    }
    return false;
}

static void
pump(struct tls *t)
{
    if (t->pumping)
        return;
    t->pumping = true;
    if (t->state == TLS_HANDSHAKE)
        handshake(t);
    while (t->state == TLS_OPEN && t->reading && !t->got_end && read_once(t))
        ;
    t->pumping = false;
    put_off_rest(t);
}

static void
on_timer(uv_timer_t *timer)
{
    struct tls *t = timer->data;
    if (t->state == TLS_CLOSING) {
        drop_lower(t);
        return;
    }
    bool idle = !t->active;
    pump(t);
    t->active = false;
    if (idle && t->state == TLS_OPEN) {
        uv_timer_stop(&t->timer);
        (void)SSL_free_buffers(t->ssl); // only where nothing waits in them
    }
}

static void
on_lower_data(void *user, const uint8_t *data, size_t size)
{
    struct tls *t = user;
    if (t->state == TLS_CLOSING)
        return;
    if (t->got_end) {
        fail_text(t, "data after close_notify");
        return;
    }
    if (buf_size(&t->held) == 0) {
        t->span = data;
        t->span_size = size;
        pump(t);
        data = t->span;
        size = t->span_size;
        t->span = NULL;
        t->span_size = 0;
        if (size > 0 && t->state != TLS_CLOSING && buf_append(&t->held, data, size) != 0)
            fail_text(t, "too much unread data");
        return;
    }
    if (buf_append(&t->held, data, size) != 0)
        fail_text(t, "too much unread data");
    else
        pump(t);
}

static void
on_lower_end(void *user)
{
    struct tls *t = user;
    t->lower_ended = true;
    if (t->state == TLS_CLOSING)
        drop_lower(t);
    else
        pump(t);
}

static void
on_lower_drain(void *user)
{
    struct tls *t = user;
    t->full = false;
    if (t->told_full && t->state == TLS_OPEN) {
        t->told_full = false;
        if (t->stream.events->on_drain != NULL)
            t->stream.events->on_drain(t->stream.user);
    }
}

static void
on_lower_close(void *user, const struct error *why)
{
    struct tls *t = user;
    t->lower = NULL;
    if (t->state != TLS_CLOSING) {
        t->state = TLS_CLOSING;
        if (why != NULL) {
            t->failed = true;
            t->why = *why;
        } else if (!t->got_end) {
            t->failed = true;
            (void)error_set(&t->why, ERR_PROTOCOL, "connection ended without close_notify");
        }
    }
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}

static const struct stream_events lower_events = {
    .on_data = on_lower_data,
    .on_end = on_lower_end,
    .on_drain = on_lower_drain,
    .on_close = on_lower_close,
    .sealed = true,
};

// --- the stream's own operations ---

static int
tls_write(struct stream *s, const void *data, size_t size)
{
    struct tls *t = tls_of(s);
    if (t->state != TLS_OPEN || t->sent_end || t->broken || t->lower == NULL)
        return -1;
    if (size == 0)
        return 0;
    put_off_rest(t);
    size_t written = 0;
    ERR_clear_error();
    t->writing = true;
    bool ok = SSL_write_ex(t->ssl, data, size, &written) == 1;
    t->writing = false;
    if (flush_flight(t) != 0 || !ok) {
        fail_ssl(t, "TLS failed");
        return -1;
    }
    if (t->broken)
        return -1;
    t->told_full = t->full;
    return t->full ? 1 : 0;
}

static void
tls_read_start(struct stream *s)
{
    struct tls *t = tls_of(s);
    if (t->reading || t->state == TLS_CLOSING || t->lower == NULL)
        return;
    t->reading = true;
    t->active = true;
    stream_read_start(t->lower);
    if (t->state == TLS_OPEN)
        uv_timer_start(&t->timer, on_timer, 0, 0);
}

static void
tls_read_stop(struct stream *s)
{
    struct tls *t = tls_of(s);
    t->reading = false;
    if (t->state == TLS_OPEN && !t->got_end && t->lower != NULL)
        stream_read_stop(t->lower);
}

static void
tls_shutdown(struct stream *s)
{
    struct tls *t = tls_of(s);
    if (t->state != TLS_OPEN || t->sent_end || t->lower == NULL)
        return;
    t->sent_end = true;
    ERR_clear_error();
    (void)SSL_shutdown(t->ssl);
    stream_shutdown(t->lower);
}

static void
tls_close(struct stream *s)
{
    struct tls *t = tls_of(s);
    t->failed = false;
    t->state = TLS_CLOSING;
    drop_lower(t);
}

static size_t
tls_queued(const struct stream *s)
{
    const struct tls *t = (const struct tls *)s;
    return t->lower == NULL ? 0 : stream_queued(t->lower);
}

static bool
tls_is_quiet(const struct stream *s)
{
    const struct tls *t = (const struct tls *)s;
    return t->state == TLS_OPEN && !t->sent_end && !t->got_end && t->lower != NULL &&
           buf_size(&t->held) == 0 && SSL_has_pending(t->ssl) == 0 && stream_is_quiet(t->lower);
}

static const struct stream_ops tls_ops = {
    .write = tls_write,
    .read_start = tls_read_start,
    .read_stop = tls_read_stop,
    .shutdown = tls_shutdown,
    .close = tls_close,
    .queued = tls_queued,
    .is_quiet = tls_is_quiet,
};

// --- making one ---

static int
resume(struct tls *t, const struct tls_options *o, struct error *err)
{
    if (o->sessions == NULL)
        return 0;
    t->sessions = o->sessions;
    t->session_key = xstrdup(o->session_key);
    SSL_SESSION *session = tls_sessions_take(o->sessions, o->session_key, o->name);
    if (session == NULL)
        return 0;
    int rc = SSL_set_session(t->ssl, session);
    SSL_SESSION_free(session);
    return rc == 1 ? 0 : tls_fail_openssl(err, "cannot resume a TLS session");
}

static int
set_client(struct tls *t, const struct tls_options *o, struct error *err)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    X509_VERIFY_PARAM_set_hostflags(param, TLS_HOST_FLAGS);
    if (o->name == NULL || o->name[0] == '\0' ||
        X509_VERIFY_PARAM_set1_host(param, o->name, 0) != 1 ||
        SSL_ctrl(t->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                 (void *)(uintptr_t)o->name) != 1)
        return error_set(err, ERR_INTERNAL, "cannot set the name to verify");
    SSL_set_verify(t->ssl, SSL_VERIFY_PEER, NULL);
    if (o->alpn_size > 0 && SSL_set_alpn_protos(t->ssl, o->alpn, (unsigned)o->alpn_size) != 0)
        return error_set(err, ERR_INTERNAL, "cannot offer application protocols");
    SSL_set_connect_state(t->ssl);
    return resume(t, o, err);
}

static int
set_up(struct tls *t, const struct tls_options *o, struct error *err)
{
    assert(bio_method != NULL);
    BIO *bio = BIO_new(bio_method);
    t->ssl = SSL_new(o->ctx);
    if (bio == NULL || t->ssl == NULL) {
        BIO_free(bio);
        return tls_fail_openssl(err, "cannot make a TLS connection");
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_app_data(t->ssl, t);
    if (o->first_size > 0 && buf_append(&t->held, o->first, o->first_size) != 0)
        return error_set(err, ERR_TOO_LARGE, "too many first bytes");
    if (!o->server)
        return set_client(t, o, err);
    SSL_set_accept_state(t->ssl);
    return 0;
}

static void
ignore_close(void *user, const struct error *why)
{
    (void)user;
    (void)why;
}

static const struct stream_events no_events = {.on_close = ignore_close};

int
tls_stream_new(uv_loop_t *loop, struct stream *lower, const struct tls_options *options,
               struct stream **ret, struct error *err)
{
    struct tls *t = xcalloc(1, sizeof *t);
    t->stream.ops = &tls_ops;
    t->stream.events = &no_events;
    t->lower = lower;
    t->alpn = options->alpn;
    t->alpn_size = options->alpn_size;
    buf_init_secret(&t->held, TLS_HELD_MAX);
    if (set_up(t, options, err) != 0) {
        stream_set_user(lower, &no_events, NULL);
        stream_close(lower);
        free_tls(t);
        return -1;
    }
    uv_timer_init(loop, &t->timer);
    t->timer.data = t;
    uv_timer_start(&t->timer, on_timer, 0, 0);
    stream_set_user(lower, &lower_events, t);
    stream_read_start(lower);
    *ret = &t->stream;
    return 0;
}

const uint8_t *
tls_stream_alpn(const struct stream *s, size_t *ret_size)
{
    const struct tls *t = (const struct tls *)s;
    const unsigned char *name = NULL;
    unsigned size = 0;
    SSL_get0_alpn_selected(t->ssl, &name, &size);
    *ret_size = size;
    return name;
}

bool
tls_stream_resumed(const struct stream *s)
{
    return SSL_session_reused(((const struct tls *)s)->ssl) == 1;
}

bool
tls_stream_unverified(const struct stream *s)
{
    return ((const struct tls *)s)->unverified;
}
