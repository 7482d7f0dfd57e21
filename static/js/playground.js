// A form whose answer comes as lines of JSON: the id of an element, and its new HTML or text to add. Any other answer is a page.
const form = document.querySelector("form[data-streams]");
const stop = form.querySelector("[data-stop]"), lost = form.querySelector("[data-lost]");
let leaving = null;

const show = (id) => document.getElementById(id).scrollIntoView({ block: "nearest" });

async function take({ id, html, text }) {
  const target = document.getElementById(id);
  if (text) {
    const first = !target.textContent;
    target.append(text);
    target.scrollTop = target.scrollHeight;
    if (first) show(id);
  } else {
    await window.htmx.swap({ sourceElement: form, target, text: html, swap: "outerHTML settle:0" });
    if (id === "play-failure" || id === "play-message") show(id); // on a phone, what comes next is what one sees
  }
}

function running(on) {
  form.setAttribute("aria-busy", on);
  form.querySelectorAll("[type=submit]").forEach((button) => (button.disabled = on));
  stop.hidden = !on;
}

stop.addEventListener("click", () => leaving?.abort());

async function send(event) {
  event.preventDefault();
  if (leaving) return;
  leaving = new AbortController();
  const body = new FormData(form, event.submitter);
  for (const id of ["play-answer", "play-failure"]) document.getElementById(id).textContent = "";
  lost.hidden = true;
  running(true);
  try {
    const answer = await fetch(form.action, { method: "POST", body, signal: leaving.signal, headers: { Accept: "application/x-ndjson" } });
    if (!answer.headers.get("content-type")?.startsWith("application/x-ndjson")) {
      form.removeEventListener("submit", send);
      running(false);
      return form.requestSubmit(event.submitter); // by the same button: a dry run stays one
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) await take(JSON.parse(line));
    }
  } catch (error) {
    lost.hidden = error.name === "AbortError";
  } finally {
    leaving = null;
    running(false);
  }
}

form.addEventListener("submit", send);
