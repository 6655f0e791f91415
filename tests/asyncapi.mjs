// Validates AsyncAPI documents and all that they refer to, and prints what is wrong with each as JSON.
// node tests/asyncapi.mjs NODE_MODULES FILE…
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, ...files] = process.argv.slice(2);
const { Parser } = createRequire(join(modules, "/"))("@asyncapi/parser");
const answers = [];
for (const file of files) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"), { source: file });
  answers.push({
    parsed: document !== undefined,
    operations: document?.operations().all().map((one) => one.id()) ?? [],
    problems: diagnostics.map((one) => ({
      severity: one.severity, code: one.code, message: one.message, path: one.path.join("."), source: one.source,
    })),
  });
}
console.log(JSON.stringify(answers, null, 1));
