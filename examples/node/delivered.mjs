// npm ci && node delivered.mjs 4023457655
// A row of your own and an event, in one transaction. SHOP_DATABASE_URL leads to the engine's database.
import pg from "pg";

const WHAT_TO_DO = {
  WH001: "correct the event",
  WH002: "create the account, then send again",
  WH003: "send again once an operator has resumed the account",
  WH004: "use another key for another event",
};

export async function delivered(client, number) {
  await client.query("BEGIN");
  try {
    await client.query("INSERT INTO public.sms VALUES ($1, 'DELIVERED')", [number]);
    const { rows } = await client.query(
      `SELECT event_id, deliveries, repeated FROM dispatcher.enqueue_v1(
         account => $1, event_type => $2, data => $3, subject => $4, idempotency_key => $5)`,
      ["acme", "message.outbound.delivered", JSON.stringify({ id: number }), number, `sms-${number}-delivered`],
    );
    await client.query("COMMIT");
    return rows[0];
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  }
}

const client = new pg.Client({ connectionString: process.env.SHOP_DATABASE_URL });
await client.connect();
try {
  for (const number of process.argv.slice(2)) {
    console.log(JSON.stringify(await delivered(client, number)));
  }
} catch (error) {
  console.error(`${error.code} ${error.message}: ${WHAT_TO_DO[error.code] ?? error.hint ?? "see docs/sql.md"}`);
  process.exitCode = 1;
} finally {
  await client.end();
}
