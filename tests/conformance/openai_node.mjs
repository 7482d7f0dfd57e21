// Drives the stock openai package of Node. argv: the folder with node_modules, base URL, key, and scenarios as JSON.
// Prints one JSON object: by scenario, what an app would have got.
import { createRequire } from "node:module";
import path from "node:path";

const [folder, baseURL, apiKey, scenarios] = process.argv.slice(2);
const OpenAI = createRequire(path.join(folder, "from-here.js"))("openai");
const messages = [{ role: "user", content: "Hello" }];

async function run({ model, stream = false, headers = {} }) {
  const client = new OpenAI({ baseURL, apiKey, defaultHeaders: headers }); // its own number of retries: as apps use it
  let text = "";
  let finish = null;
  try {
    const answer = await client.chat.completions.create({ model, messages, stream, max_tokens: 12 });
    if (stream) {
      for await (const chunk of answer) {
        text += chunk.choices[0]?.delta?.content ?? "";
        finish = chunk.choices[0]?.finish_reason ?? finish;
      }
    } else {
      text = answer.choices[0].message.content;
      finish = answer.choices[0].finish_reason;
    }
    return { text, finish, error: null };
  } catch (error) {
    return { text, finish, error: error.constructor.name, status: error.status ?? null, code: error.code ?? null };
  }
}

const found = {};
for (const [name, scenario] of Object.entries(JSON.parse(scenarios))) found[name] = await run(scenario);
console.log(JSON.stringify(found));
