// What AsyncAPI's own parser says of documents.
//
// DOCUMENTS='["path", …]' node check_asyncapi.mjs
//
// Prints one JSON object a line, in their order: {"problems": [text], "channels": [addresses], "operations": number,
// "messages": number, "examples": number}; but for the problems all is empty where it is no document.
import { readFile } from "node:fs/promises";

import { Parser } from "@asyncapi/parser";

for (const path of JSON.parse(process.env.DOCUMENTS)) {
  const { document, diagnostics } = await new Parser().parse(await readFile(path, "utf8"));
  const messages = document?.components().messages().all() ?? [];
  const said = {
    problems: diagnostics.map(({ code, message, path }) => `${path.join("/")}: ${code}: ${message}`),
    channels: document?.channels().all().map((channel) => channel.address()) ?? [],
    operations: document?.operations().all().length ?? 0,
    messages: messages.length,
    examples: messages.reduce((count, message) => count + message.examples().all().length, 0),
  };
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
