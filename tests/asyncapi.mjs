// Validates an AsyncAPI document and all that it refers to, and prints what is wrong with it as JSON.
// node tests/asyncapi.mjs NODE_MODULES FILE
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, file] = process.argv.slice(2);
const { Parser } = createRequire(join(modules, "/"))("@asyncapi/parser");
const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"), { source: file });
console.log(JSON.stringify({
  parsed: document !== undefined,
  operations: document?.operations().all().map((one) => one.id()) ?? [],
  problems: diagnostics.map((one) => ({
    severity: one.severity, code: one.code, message: one.message, path: one.path.join("."), source: one.source,
  })),
}, null, 1));
