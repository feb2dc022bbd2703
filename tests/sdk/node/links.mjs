// Pictures as addresses, with the official Node SDK; opens each and prints the hashes of what is there, as one JSON line.
// usage: node links.mjs BASE_URL ACT N [FILE]
import OpenAI, { toFile } from "openai";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const [baseURL, act, n, file] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "sk-anything" });
const asked = { model: "pic", prompt: "a lighthouse", n: Number(n), response_format: "url" };

const image = file ? await toFile(readFileSync(file), "in.png", { type: "image/png" }) : undefined;
const answer = act === "edit" ? await client.images.edit({ ...asked, image }) : await client.images.generate(asked);
const found = [];
for (const picture of answer.data) {
  const response = await fetch(picture.url);
  const bytes = Buffer.from(await response.arrayBuffer());
  found.push({ sha256: createHash("sha256").update(bytes).digest("hex"), type: response.headers.get("content-type") });
}
console.log(JSON.stringify({ found, members: Object.keys(answer.data[0]), created: answer.created, usage: answer.usage }));
