// Verifies what a receiver got, by the official libraries and nothing else.
//
// DELIVERIES='[{"id": …, "timestamp": …, "signature": …, "body": text, "secrets": […]}]' node verify_deliveries.mjs
//
// Prints a JSON list: of each delivery the secrets' numbers by which each library took it, {"standardwebhooks": [0, 1], "svix": [0, 1]}.
import { Webhook as Standard } from "standardwebhooks";
import { Webhook as Svix } from "svix";

const verifies = (library, secret, { id, timestamp, signature, body }) => {
  const headers = { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature };
  try {
    new library(secret).verify(body, headers);
    return true;
  } catch {
    return false;
  }
};

const taken = (library, delivery) =>
  delivery.secrets.flatMap((secret, number) => (verifies(library, secret, delivery) ? [number] : []));

const deliveries = JSON.parse(process.env.DELIVERIES);
process.stdout.write(
  JSON.stringify(
    deliveries.map((delivery) => ({
      standardwebhooks: taken(Standard, delivery),
      svix: taken(Svix, delivery),
    })),
  ),
);
