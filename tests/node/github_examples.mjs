// Every example payload that GitHub publishes, signed by GitHub's own library.
//
// GITHUB_WEBHOOK_SECRET=… node github_examples.mjs
//
// Prints one JSON object a line: {"event", "delivery": a new id, "body": base64 of the bytes to send,
// "signature": the value of X-Hub-Signature-256}.
import { randomUUID } from "node:crypto";

import events from "@octokit/webhooks-examples" with { type: "json" };
import { sign } from "@octokit/webhooks-methods";

const secret = process.env.GITHUB_WEBHOOK_SECRET;

for (const { name, examples } of events) {
  for (const example of examples) {
    const body = JSON.stringify(example);
    const delivery = {
      event: name,
      delivery: randomUUID(),
      body: Buffer.from(body).toString("base64"),
      signature: await sign(secret, body),
    };
    process.stdout.write(`${JSON.stringify(delivery)}\n`);
  }
}
