// SPDX-License-Identifier: Apache-2.0
// What a policy allows and should perhaps not.
#include "policy/policy-internal.h"

#include "base/cleanup.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { WARNING_MAX = 512 };

// Hosts that show anybody's requests, or under whose names anybody can put a server.
static const char *const open_hosts[] = {
    "httpbin.org",
    "*.httpbin.org",
    "postman-echo.com",
    "*.postman-echo.com",
    "echo.free.beeceptor.com",
    "*.beeceptor.com",
    "webhook.site",
    "*.webhook.site",
    "requestbin.com",
    "*.requestbin.com",
    "pastebin.com",
    "gist.github.com",
    "gist.githubusercontent.com",
    "*.cloudfront.net",
    "*.workers.dev",
    "*.pages.dev",
    "*.github.io",
    "*.gitlab.io",
    "*.vercel.app",
    "*.netlify.app",
    "*.herokuapp.com",
    "*.azurewebsites.net",
    "*.web.app",
    "*.firebaseapp.com",
    "*.ngrok.io",
    "*.ngrok-free.app",
    "*.trycloudflare.com",
    "*.deno.dev",
    "*.fly.dev",
    "*.onrender.com",
    "*.s3.amazonaws.com",
    "storage.googleapis.com",
};

struct lint {
    void (*tell)(void *user, const char *warning);
    void *user;
};

__attribute__((format(printf, 2, 3))) static void
warn(const struct lint *l, const char *fmt, ...)
{
    char text[WARNING_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    l->tell(l->user, text);
}

static bool
is_open(const struct rule *host)
{
    for (size_t i = 0; i < ARRAY_SIZE(open_hosts); i++) {
        struct rule open;
        if (rule_parse(open_hosts[i], strlen(open_hosts[i]), &open, NULL) == 0 &&
            (rule_covers(&open, host) || rule_covers(host, &open)))
            return true;
    }
    return false;
}

static void
lint_host(const struct lint *l, const struct policy_secret *s, const struct rule *host)
{
    if (is_open(host))
        warn(l,
             "secret %s: host \"%s\": anybody can have a server there, or it answers with what "
             "it is sent",
             s->name, host->text);
    else if (host->kind == RULE_BELOW)
        warn(l, "secret %s: host \"%s\" stands for every name below it, of whoever may make them",
             s->name, host->text);
}

static void
lint_secret(const struct lint *l, const struct policy_secret *s)
{
    for (size_t i = 0; i < s->host_count; i++)
        lint_host(l, s, &s->hosts[i]);
    if (s->value_size < POLICY_VALUE_UNKNOWN_MIN)
        warn(l, "secret %s: its value has fewer than 16 characters: it is not taken out of answers",
             s->name);
    else if (!s->redact)
        warn(l, "secret %s: it is not taken out of what its hosts answer", s->name);
    if (s->plain_http)
        warn(l, "secret %s: it may be sent without TLS, for everybody on the way to read", s->name);
}

void
policy_lint(const struct policy *p, void (*tell)(void *user, const char *warning), void *user)
{
    const struct lint l = {tell, user};
    for (size_t i = 0; i < p->secret_count; i++)
        lint_secret(&l, &p->secrets[i]);
    if (p->settings.pass_misused_heads)
        warn(&l, "onMisuse.head is \"pass\": misused placeholders are only told of in the audit");
    if (p->settings.drop_audit)
        warn(&l, "onAuditFailure is \"drop\": requests go on when nobody records them");
}
