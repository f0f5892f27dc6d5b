// Prints what AsyncAPI's own parser says about a document, as JSON: severity 0 is an error, 1 a warning.
const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");

new Parser().parse(readFileSync(process.argv[2], "utf-8")).then(({ document, diagnostics }) => {
  const found = diagnostics.map(({ code, message, path, severity }) => ({ code, message, severity, path: path.join(".") }));
  console.log(JSON.stringify({ version: document ? document.version() : null, diagnostics: found }));
});
