// The Vercel AI SDK as it is installed, through the proxy: text, streams, tools, objects, by its OpenAI, Anthropic and Google packages.
// Prints one line of JSON: {"case": "..." , "ok": true | false, "why": "..."} for each case.
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { z } from "zod";

const url = process.env.PROXY_URL, apiKey = process.env.PROXY_KEY;
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey });
const google = createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey });
const clients = { chat: (name) => openai.chat(name), responses: (name) => openai.responses(name), anthropic, google };
const routes = ["by-openai", "by-anthropic", "by-gemini"];
const schema = z.object({ city: z.string(), degrees: z.number() });

function check(condition, what) {
  if (!condition) throw new Error(what);
}

const cases = {
  async text(model) {
    const { text, usage, finishReason } = await generateText({ model, prompt: "Hello", maxRetries: 0 });
    check(text.length > 0 && usage.outputTokens > 0 && finishReason === "stop", JSON.stringify({ text, usage, finishReason }));
  },
  async stream(model) {
    const result = streamText({ model, prompt: "Hello", maxRetries: 0, onError({ error }) { throw error; } });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    check(pieces.length > 1 && pieces.join("") === (await result.text), "the pieces are not the text");
    check((await result.usage).outputTokens > 0 && (await result.finishReason) === "stop", "no usage or no end");
  },
  async tools(model) {
    const asked = [];
    const weather = tool({
      description: "Tells the weather",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => { asked.push(city); return { city, rain: true }; },
    });
    const { text, steps } = await generateText({ model, tools: { weather }, stopWhen: stepCountIs(3), prompt: 'weather("Ulm")?', maxRetries: 0 });
    check(asked.join() === "Ulm" && steps.length === 2 && text.length > 0, JSON.stringify({ asked, steps: steps.length, text }));
  },
  async object(model) {
    const { object } = await generateObject({ model, schema, prompt: "Ulm?", maxRetries: 0 });
    check(typeof object.city === "string" && typeof object.degrees === "number", JSON.stringify(object));
  },
};

for (const [client, make] of Object.entries(clients)) {
  for (const route of routes) {
    for (const [name, run] of Object.entries(cases)) {
      let why = "";
      try {
        await run(make(route));
      } catch (error) {
        why = `${error?.name}: ${error?.message} ${error?.responseBody ?? error?.cause ?? ""}`.slice(0, 500);
      }
      console.log(JSON.stringify({ case: `${client} ${route} ${name}`, ok: why === "", why }));
    }
  }
}
