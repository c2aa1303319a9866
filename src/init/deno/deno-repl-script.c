// SPDX-License-Identifier: Apache-2.0
// `_` and `_error` of a REPL are the last value and the last exception. The prelude keeps hold of
// them, whatever the evaluated code declares, and shows them as JSON; showing is an evaluation as
// well, so that `_` is given back what it was.
#include "init/deno/deno-internal.h"

const char repl_prelude[] =
    "(() => {\n"
    "  const { stringify } = JSON;\n"
    "  const { inspect } = Deno;\n"
    "  const own = (name) => Object.getOwnPropertyDescriptor(globalThis, name)?.get ?? (() => "
    "undefined);\n"
    "  const last = own('_');\n"
    "  const thrown = own('_error');\n"
    "  let shown;\n"
    "  const text = (value) => {\n"
    "    try {\n"
    "      return stringify(value, (_, v) => typeof v === 'bigint' ? String(v) : v) ?? 'null';\n"
    "    } catch {\n"
    "      return stringify(inspect(value));\n"
    "    }\n"
    "  };\n"
    "  const string = (value) => typeof value === 'string' ? value : null;\n"
    "  Object.defineProperty(globalThis, '_', {\n"
    "    configurable: true,\n"
    "    get: () => shown,\n"
    "    set: (value) => Object.defineProperty(globalThis, '_', { value, configurable: true, "
    "writable: true }),\n"
    "  });\n"
    "  Object.defineProperty(globalThis, Symbol.for('casemate.repl'), {\n"
    "    value: Object.freeze({\n"
    "      value: async () => text(await (shown = last())),\n"
    "      error: () => {\n"
    "        const e = thrown();\n"
    "        if (!(e instanceof Error || e instanceof DOMException))\n"
    "          return text({ constructorName: 'Error', message: `Uncaught ${inspect(e)}` });\n"
    "        const name = string(e instanceof DOMException ? e.name : e.constructor?.name);\n"
    "        return text({\n"
    "          constructorName: e instanceof DOMException ? 'DOMException' : name ?? 'Error',\n"
    "          name, message: String(e.message), stack: string(e.stack),\n"
    "          code: e instanceof DOMException ? null : string(e.code),\n"
    "        });\n"
    "      },\n"
    "    }),\n"
    "  });\n"
    "})()";

const char repl_show_value[] = "await globalThis[Symbol.for('casemate.repl')].value()";
const char repl_show_error[] = "globalThis[Symbol.for('casemate.repl')].error()";
