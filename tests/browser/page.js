"use strict";
// Drives the page of ws_server in headless Chromium: one line for each check, and what was seen where one fails.
//
//   WS_SERVER=target/release/examples/ws_server NODE_PATH=.../node_modules node tests/browser/page.js
//
// WS_SERVER             the server's program; started here on a free port, ended here
// ENDPOINT_CHROMIUM     the browser (default: chromium on the PATH, or /usr/bin/chromium)
// ENDPOINT_SCREENSHOTS  a folder for pictures of the page (default: none are kept)
// NODE_PATH             where playwright-core is installed

const assert = require("node:assert/strict");
const { execFileSync, spawn } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

const DEADLINE = 20_000;
const PAGE_FILE = path.join(__dirname, "../../examples/ws_server/page.html");
const DESKTOP = { width: 1000, height: 760 };
const PHONE = { width: 360, height: 640 };

class Server {
  static async start(...options) {
    const program = process.env.WS_SERVER;
    assert.ok(program, "WS_SERVER does not name the server's program");
    const server = new Server();
    server.process = spawn(program, ["--addr", "127.0.0.1:0", ...options], { stdio: ["ignore", "pipe", "inherit"] });
    server.ended = new Promise((resolve, reject) => {
      server.process.once("error", reject);
      server.process.once("exit", (code, signal) => resolve(signal ?? code));
    });
    server.ended.catch(() => {});
    Server.running.add(server);

    const announced = new Promise(resolve => {
      readline.createInterface({ input: server.process.stdout }).on("line", line => {
        const [, name, url] = /^(page|endpoint): (\S+)$/.exec(line) ?? [];
        if (name) server[name] = url;
        if (server.page && server.endpoint) resolve();
      });
    });
    const early = server.ended.then(status => assert.fail(`the server ended (${status}) before it said where it listens`));
    await within("the server to say where it listens", Promise.race([announced, early]));
    return server;
  }

  async terminate() {
    this.process.kill("SIGTERM");
    const status = await within("the server to end", this.ended);
    Server.running.delete(this);
    return status;
  }
}
Server.running = new Set();

function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${DEADLINE / 1000} s for ${what}`)), DEADLINE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What a person sees of the page, and does with it. */
class Client {
  static async open(browser, url, viewport = DESKTOP, colorScheme = "light", more = {}) {
    const context = await browser.newContext({ viewport, colorScheme, locale: "zh-CN", ...more });
    const client = new Client();
    client.page = await context.newPage();
    client.page.setDefaultTimeout(DEADLINE);
    client.complaints = [];
    client.page.on("console", message => {
      if (["error", "warning"].includes(message.type())) client.complaints.push(message.text());
    });
    client.page.on("pageerror", error => client.complaints.push(String(error)));
    await client.page.goto(url);
    Client.current = client;
    return client;
  }

  seen() {
    return this.page.evaluate(() => ({
      url: document.querySelector("#url").value,
      state: document.querySelector("#state").textContent,
      content: document.querySelector("#content").value,
      closed: { ...document.querySelector("#closed").dataset },
      log: [...document.querySelectorAll("#log p")].map(line =>
        [...line.querySelectorAll("b, span")].map(part => part.textContent).join("")),
    }));
  }

  /** Waits until the predicate, which runs in the page, is true of the arguments. */
  async until(what, predicate, argument) {
    try {
      await this.page.waitForFunction(predicate, argument);
    } catch (error) {
      throw new Error(`waited for ${what}: ${error.message.split("\n")[0]}`);
    }
  }

  untilState(state) {
    return this.until(`state ${state}`, wanted => document.querySelector("#state").textContent === wanted, state);
  }

  untilLine(who, text) {
    return this.until(`${who}：${text}`, wanted => [...document.querySelectorAll(`#log p`)].some(line =>
      line.querySelector("b").textContent === `${wanted.who}：` && line.querySelector("span").textContent.includes(wanted.text)),
    { who, text });
  }

  untilLastLineIsInView() {
    return this.until("the log's last line to be in view", () => {
      const log = document.querySelector("#log");
      const last = log.lastElementChild.getBoundingClientRect();
      return log.scrollTop > 0 && last.bottom <= log.getBoundingClientRect().bottom;
    });
  }

  async say(text) {
    await this.page.fill("#content", text);
    await this.page.click("#send");
  }

  async disconnect(code, reason) {
    await this.page.fill("#close-code", String(code));
    await this.page.fill("#close-reason", reason);
    await this.page.click("#disconnect");
  }

  async picture(name) {
    const folder = process.env.ENDPOINT_SCREENSHOTS;
    if (!folder) return;
    fs.mkdirSync(folder, { recursive: true });
    await this.page.screenshot({ path: path.join(folder, `${name}.png`) });
  }

  async close() {
    await this.page.context().close();
    Client.current = null;
  }
}

async function check(name, body) {
  await body();
  console.log(`ok    ${name}`);
}

async function servedPage(browser) {
  const server = await Server.start();
  const client = await Client.open(browser, server.page);
  const { page } = client;

  await check("connects by itself to the address of its own host", async () => {
    await client.untilState("1 OPEN");
    assert.equal((await client.seen()).url, server.endpoint);
  });

  await check("agrees on compression with the server", async () => {
    const extensions = await page.evaluate(() => socket.extensions);
    assert.equal(extensions, "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
  });

  await check("sends with the button and shows the echo as 对方", async () => {
    await client.say("你好，世界 👋");
    await client.untilLine("对方", "你好，世界 👋");
    await client.untilLine("我", "你好，世界 👋");
    assert.equal((await client.seen()).content, "");
  });

  await check("sends with Enter, breaks the line with Shift+Enter", async () => {
    await page.focus("#content");
    await page.keyboard.type("first");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("second");
    await page.keyboard.press("Enter");
    await client.untilLine("对方", "first\nsecond");
  });

  await check("clear empties the box and sends nothing", async () => {
    const before = (await client.seen()).log.length;
    await page.fill("#content", "not sent");
    await page.click("#clear");
    const after = await client.seen();
    assert.equal(after.content, "");
    assert.equal(after.log.length, before);
  });

  await check("shows markup as the text it is", async () => {
    const markup = "<img src=x onerror=\"document.title='run'\"><b>bold</b>";
    await client.say(markup);
    await client.untilLine("对方", markup);
    assert.equal(await page.locator("#log img").count(), 0);
    assert.notEqual(await page.title(), "run");
  });

  await check("shows an empty message, and the beginning of a big one with its length", async () => {
    const before = (await client.seen()).log.length;
    await client.say("");
    await client.until("the empty echo", n => document.querySelectorAll("#log p").length === n, before + 2);
    // three octets each: just below the 1 MiB that an endpoint takes by default
    await client.say("长".repeat(340_000));
    await client.untilLine("对方", "共 340000 个字符");
  });

  await check("follows the end of the log", async () => {
    for (let i = 0; i < 40; i++) await client.say(`line ${i}`);
    await client.untilLine("对方", "line 39");
    await client.untilLastLineIsInView();
  });

  await check("leaves alone who reads further up", async () => {
    await page.locator("#log").evaluate(log => { log.scrollTop = 0; });
    await page.evaluate(() => new Promise(requestAnimationFrame));
    await page.evaluate(() => say("system", "one more line"));
    assert.equal(await page.locator("#log").evaluate(log => log.scrollTop), 0);
  });
  await client.say("这一行把记录带回末尾");
  await client.untilLine("对方", "这一行把记录带回末尾");
  await client.picture("open");

  await check("refuses a close code that a page may not send", async () => {
    await client.disconnect(1001, "");
    await client.untilLine("系统", "3000–4999");
    assert.equal((await client.seen()).state, "1 OPEN");
  });

  await check("refuses a reason that does not fit into a close frame", async () => {
    await client.disconnect(1000, "长".repeat(42));
    await client.untilLine("系统", "123 字节");
    assert.equal((await client.seen()).state, "1 OPEN");
  });

  await check("closes with code and reason, and the server answers with the same", async () => {
    await client.disconnect(4001, "下班了");
    await client.untilLine("系统", "正在断开：代码 4001（应用自定），原因：下班了");
    await client.untilState("3 CLOSED");
    assert.equal((await client.seen()).closed.code, "4001");
    await client.untilLine("系统", "已和服务器断开连接：代码 4001（应用自定），原因：下班了");
    await client.untilLastLineIsInView();
  });
  await client.picture("closed");

  await check("says that it cannot send while closed, and keeps the message", async () => {
    await client.say("too late");
    await client.untilLine("系统", "没有连接");
    assert.equal((await client.seen()).content, "too late");
  });

  await check("connects again and is heard", async () => {
    await page.click("#connect");
    await client.untilState("1 OPEN");
    await client.say("back again");
    await client.untilLine("对方", "back again");
  });

  await check("shows the server's own close: 1001 after SIGTERM", async () => {
    const ending = server.terminate();
    await client.untilState("3 CLOSED");
    assert.equal((await client.seen()).closed.code, "1001");
    const status = await ending;
    assert.equal(status, 0, `the server ended with ${status}`);
  });

  await check("no error or warning in the browser's console", () => assert.deepEqual(client.complaints, []));

  await check("says so when nobody is there", async () => {
    await page.click("#connect");
    await client.untilLine("系统", "连接失败");
    assert.equal((await client.seen()).state, "3 CLOSED");
  });

  await check("says so when the address is none", async () => {
    await page.fill("#url", "nonsense://host");
    await page.click("#connect");
    await client.untilLine("系统", "不是可用的");
  });
  await client.close();
}

async function smallAndDark(browser) {
  const server = await Server.start();
  const client = await Client.open(browser, server.page, PHONE, "dark");
  await client.untilState("1 OPEN");

  await check("a phone's width needs no scrolling sideways, whatever is said", async () => {
    await client.say("一条比较长的消息，在手机上要换行才看得完，这里就看它换不换。");
    await client.say("x".repeat(400));
    await client.untilLine("对方", "x".repeat(400));
    const widths = await client.page.evaluate(() => ["html", "#log"].map(name => {
      const { scrollWidth, clientWidth } = document.querySelector(name);
      return { name, scrollWidth, clientWidth };
    }));
    for (const { name, scrollWidth, clientWidth } of widths) {
      assert.ok(scrollWidth <= clientWidth, `${name} is ${scrollWidth} px wide in ${clientWidth}`);
    }
  });

  await check("every control has a name for those who cannot see it", async () => {
    const nameless = await client.page.evaluate(() => [...document.querySelectorAll("input, textarea, button")]
      .filter(control => !(control.labels?.length || control.ariaLabel || control.textContent.trim()))
      .map(control => control.id));
    assert.deepEqual(nameless, []);
    assert.equal(await client.page.getAttribute("#log", "aria-live"), "polite");
  });

  await check("still no error or warning in the console", () => assert.deepEqual(client.complaints, []));
  await client.picture("phone-dark");
  await client.close();
  await server.terminate();
}

async function overTls(browser) {
  const server = await Server.start("--tls");
  // the certificate is one that the server made itself
  const client = await Client.open(browser, server.page, DESKTOP, "light", { ignoreHTTPSErrors: true });

  await check("over TLS: page and endpoint are https and wss, and the echo comes back", async () => {
    assert.match(server.page, /^https:/);
    assert.match(server.endpoint, /^wss:/);
    await client.untilState("1 OPEN");
    assert.equal((await client.seen()).url, server.endpoint);
    await client.say("加密的 🔒");
    await client.untilLine("对方", "加密的 🔒");
    await client.say("长".repeat(340_000));
    await client.untilLine("对方", "共 340000 个字符");
  });

  await check("over TLS: the server's own close arrives as 1001", async () => {
    const ending = server.terminate();
    await client.untilState("3 CLOSED");
    assert.equal((await client.seen()).closed.code, "1001");
    assert.equal(await ending, 0);
  });
  await client.close();
}

async function fromDisk(browser) {
  const client = await Client.open(browser, pathToFileURL(PAGE_FILE).href);

  await check("from disk: waits with the usual address and says what the server needs", async () => {
    const { url, state } = await client.seen();
    assert.equal(url, "ws://127.0.0.1:8080/websocket/ws");
    assert.equal(state, "3 CLOSED");
    assert.match(await client.page.innerText("#disk"), /--allow-any-origin/);
  });

  for (const [options, outcome, line] of [
    [[], "is refused by a server as it is", "连接失败"],
    [["--allow-any-origin"], "is accepted with --allow-any-origin", "已连接"],
  ]) {
    await check(`from disk: ${outcome}`, async () => {
      const server = await Server.start(...options);
      await client.page.fill("#url", server.endpoint);
      await client.page.click("#connect");
      await client.untilLine("系统", `${line} ${server.endpoint}`.replace("失败 ", "失败："));
      if (options.length) await client.picture("from-disk");
      await server.terminate();
      await client.untilState("3 CLOSED");
    });
  }
  await client.close();
}

function browserPath() {
  if (process.env.ENDPOINT_CHROMIUM) return process.env.ENDPOINT_CHROMIUM;
  try {
    return execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
  } catch {
    return "/usr/bin/chromium";
  }
}

async function main() {
  const browser = await chromium.launch({
    executablePath: browserPath(),
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"],
  });
  try {
    await servedPage(browser);
    await smallAndDark(browser);
    await overTls(browser);
    await fromDisk(browser);
  } catch (error) {
    console.log(`FAIL  ${error.message}`);
    if (Client.current) {
      const seen = await Client.current.seen().catch(trouble => String(trouble));
      if (seen.log) seen.log = seen.log.slice(-12).map(line => line.slice(0, 200));
      console.log("the page showed", seen, "and the console", Client.current.complaints);
      await Client.current.picture("failed").catch(() => {});
    }
    process.exitCode = 1;
  } finally {
    await browser.close();
    for (const { process: left } of Server.running) left.kill("SIGKILL");
  }
}

main();
