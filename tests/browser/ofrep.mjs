// The OpenFeature project's two OFREP providers for JavaScript against a worker; prints what they made of it as JSON.
//
//   node ofrep.mjs GIVEN
//
// GIVEN is JSON: `worker` and `limited`, two addresses, the second of a worker that takes two calls a second; `key`, and
// `token`, by which `ada` withdraws.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const server = require("@openfeature/server-sdk").OpenFeature;
const { OpenFeature: web, ProviderEvents } = require("@openfeature/web-sdk");
const { OFREPProvider } = require("@openfeature/ofrep-provider");
const { OFREPWebProvider } = require("@openfeature/ofrep-web-provider");

const given = JSON.parse(process.argv[2]);
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const keyed = (key = given.key) => [["Authorization", `Bearer ${key}`]];
const FLAGS = [
  ["String", "promotion", "own"],
  ["Boolean", "banner", false],
  ["Number", "columns", 1],
];

/** Return a `fetch` that writes down each answer's status, and the tag that was asked with. */
function noting(found) {
  return async (request, more) => {
    const answer = await fetch(request, more);
    found.push({ status: answer.status, tag: answer.headers.get("etag"), held: request.headers.get("if-none-match") });
    return answer;
  };
}

async function asServer() {
  const calls = [];
  const provider = (baseUrl, key) => new OFREPProvider({ baseUrl, headers: keyed(key), fetchImplementation: noting(calls) });
  await server.setProviderAndWait(provider(given.worker));
  const client = server.getClient();
  const ada = { targetingKey: "ada" };
  const told = { types: {} };
  for (const [type, flag, own] of FLAGS) told.types[type] = await client[`get${type}Details`](flag, own, ada);
  told.stranger = await client.getStringDetails("promotion", "own", { targetingKey: "stranger" });
  told.unknown = await client.getStringDetails("no_such_flag", "own", ada);
  told.nobody = await client.getStringDetails("promotion", "own", {});
  told.number = await client.getStringDetails("promotion", "own", { targetingKey: 42 });
  told.otherType = await client.getNumberDetails("promotion", 7, ada);
  await server.setProviderAndWait(provider(given.worker, "wrong"));
  told.unauthorized = await client.getStringDetails("promotion", "own", ada);

  await server.setProviderAndWait(provider(given.limited));
  calls.length = 0;
  const answers = [];
  for (let i = 0; i < 20; i++) answers.push(await client.getStringDetails("promotion", "own", ada));
  told.limited = { calls: calls.map((one) => one.status), last: answers.at(-1) };
  await pause(1500);
  told.later = await client.getStringDetails("promotion", "own", ada);
  await server.close();
  return told;
}

async function asPage() {
  const calls = [];
  const provider = (baseUrl, more = {}) =>
    new OFREPWebProvider({ baseUrl, headers: keyed(), fetchImplementation: noting(calls), cacheMode: "disabled", ...more });
  const refusal = async (one, context) => {
    const failed = await web.setProviderAndWait(one, context).then(() => "", String);
    return { failed, ...web.getClient().getStringDetails("promotion", "own") };
  };
  const told = { types: {} };
  told.nobody = await refusal(provider(given.worker), {});
  told.number = await refusal(provider(given.worker), { targetingKey: 42 });
  told.unauthorized = await refusal(provider(given.worker, { headers: keyed("wrong") }), { targetingKey: "ada" });
  await web.setProviderAndWait(provider(given.worker), { targetingKey: "stranger" });
  told.stranger = web.getClient().getStringDetails("promotion", "own");
  told.unknown = web.getClient().getStringDetails("no_such_flag", "own");

  calls.length = 0;
  await web.setProviderAndWait(provider(given.worker, { pollInterval: 150 }), { targetingKey: "ada" });
  for (const [type, flag, own] of FLAGS) told.types[type] = web.getClient()[`get${type}Details`](flag, own);
  while (calls.length < 3) await pause(20);
  told.polled = calls.slice(0, 3);
  const changed = new Promise((done) => web.addHandler(ProviderEvents.ConfigurationChanged, done));
  await fetch(`${given.worker}/v1/consent`, {
    method: "POST",
    headers: { ...Object.fromEntries(keyed()), "Content-Type": "application/json", "Entrenous-Token": given.token },
    body: '{"choices": {}}',
  });
  told.flagsChanged = (await changed).flagsChanged;
  told.withdrawn = web.getClient().getStringDetails("promotion", "own");

  calls.length = 0;
  let stale = 0;
  web.addHandler(ProviderEvents.Stale, () => (stale += 1));
  await web.setProviderAndWait(provider(given.limited, { pollInterval: 40 }), { targetingKey: "stranger" });
  await pause(3000);
  await web.close();
  told.limited = { calls: calls.map((one) => one.status), stale };
  return told;
}

console.log(JSON.stringify({ server: await asServer(), page: await asPage() }));
