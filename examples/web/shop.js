import { OpenFeature } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";

const at = (id) => document.getElementById(id);
const { worker, key } = document.body.dataset;
const lang = (document.documentElement.lang = /[?&]lang=fr/.test(location.search) ? "fr" : "en");
const headers = { Authorization: `Bearer ${key}` };
const send = (request, more) => fetch(request, { ...more, credentials: "include" }); // the cookie says who asks
const ask = async (path, json, body = json && new Blob([json], { type: "application/json" })) =>
  (await send(worker + path, { method: body ? "POST" : "GET", headers, body })).json();

for (const button of document.querySelectorAll("#banner button"))
  button.onclick = async () => location.reload(await ask("/v1/consent", button.value));
const choice = await ask("/v1/consent");
at("banner").togglePopover(choice.ask.length > 0);
if (choice.granted[0]) at("event").textContent = JSON.stringify(await ask("/v1/events", at("product").dataset.seen));

// Without `disabled`, answers lie in the browser's storage for a month, and no withdrawal reaches them there.
const told = { baseUrl: worker || location.origin, headers: Object.entries(headers), cacheMode: "disabled" };
const provider = new OFREPWebProvider({ ...told, fetchImplementation: send });
await OpenFeature.setProviderAndWait(provider, { targetingKey: "nobody" }); // read only where there is no cookie
const { flagMetadata } = OpenFeature.getClient().getStringDetails("promotion", "none");
at("payload").textContent = flagMetadata.payload ?? "";
at("headline").textContent = flagMetadata.payload ? JSON.parse(flagMetadata.payload).headline[lang] : "";
