"use strict";
// The parts that the tests of the pages share: a program as a server, windows of headless Chromium, one line for each check.
//
//   EXAMPLES=target/release/examples NODE_PATH=.../node_modules node tests/browser/NAME.js
//
// EXAMPLES              the folder of the programs; one is started here on a free port, and ended here
// ENDPOINT_CHROMIUM     the browser (default: chromium on the PATH, or /usr/bin/chromium)
// ENDPOINT_SCREENSHOTS  a folder for pictures of the page (default: none are kept)
// NODE_PATH             where playwright-core is installed

const assert = require("node:assert/strict");
const { execFileSync, spawn } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const DEADLINE = 20_000;
const STEP_DEADLINE = 120_000;
const DESKTOP = { width: 1000, height: 760 };
const PHONE = { width: 360, height: 640 };

const running = new Set();
let browser;
let windows = [];

/** A program that runs. `urls` has what it printed as `label: address`, the first of each label. */
class Server {
  static async start(name, ...options) {
    return Server.startAt("127.0.0.1:0", name, options);
  }

  static async startAt(addr, name, options) {
    assert.ok(process.env.EXAMPLES, "EXAMPLES does not name the folder of the programs");
    const server = new Server();
    const program = path.resolve(process.env.EXAMPLES, name);
    server.process = spawn(program, ["--addr", addr, ...options], { stdio: ["ignore", "pipe", "inherit"] });
    server.again = () => Server.startAt(new URL(server.urls.page).host, name, options);
    server.ended = new Promise((resolve, reject) => {
      server.process.once("error", reject);
      server.process.once("exit", (code, signal) => resolve(signal ?? code));
    });
    server.ended.catch(() => {});
    running.add(server.process);
    server.urls = {};
    server.lines = [];
    const announced = new Promise(resolve => {
      readline.createInterface({ input: server.process.stdout }).on("line", line => {
        server.lines.push(line);
        const [, label, url] = /^(\w+): (\w+:\/\/\S+)$/.exec(line) ?? [];
        if (label) server.urls[label] ??= url;
        if (server.urls.page && server.urls.endpoint) resolve();
      });
    });
    const early = server.ended.then(status => assert.fail(`${name} ended (${status}) before it printed its address`));
    await within(`${name} to say where it listens`, Promise.race([announced, early]));
    return server;
  }

  /** Ends it politely; resolves to its exit status. */
  async terminate() {
    this.process.kill("SIGTERM");
    const status = await within("the server to end", this.ended);
    running.delete(this.process);
    return status;
  }
}

function within(what, promise, deadline = DEADLINE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${deadline / 1000} s for: ${what}`)), deadline);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A page as a person sees it; every window is another person's. */
class Window {
  static async open(url, { viewport = DESKTOP, colorScheme = "light", ...more } = {}) {
    const context = await browser.newContext({ viewport, colorScheme, locale: "zh-CN", reducedMotion: "reduce", ...more });
    const window = new Window();
    window.page = await context.newPage();
    window.page.setDefaultTimeout(DEADLINE);
    window.complaints = [];
    window.page.on("console", message => {
      if (["error", "warning"].includes(message.type())) window.complaints.push(message.text());
    });
    window.page.on("pageerror", error => window.complaints.push(String(error)));
    windows.push(window);
    await window.page.goto(url);
    return window;
  }

  /** Waits until the predicate, which runs in the page, is true of the argument. */
  async until(what, predicate, argument) {
    try {
      return await this.page.waitForFunction(predicate, argument);
    } catch (error) {
      throw new Error(`waited for ${what}: ${error.message.split("\n")[0]}`);
    }
  }

  /** Waits until the state in the page's head begins with these words. */
  untilState(words) {
    return this.until(`state ${words}`, wanted => document.querySelector("#state").textContent.startsWith(wanted), words);
  }

  /** Waits until something that went wrong is shown in red. */
  async untilRed(selector, text) {
    await this.untilShown(selector, text);
    await this.until(`${selector} to be red`, selector => {
      const red = document.body.appendChild(document.createElement("i"));
      red.style.color = "var(--bad)";
      const { color } = getComputedStyle(red);
      red.remove();
      const last = [...document.querySelectorAll(selector)].at(-1);
      return last.offsetParent !== null && getComputedStyle(last).color === color;
    }, selector);
  }

  /** Changes the language with the switch in the page's head. */
  async changeLanguage() {
    await this.page.click("#language");
  }

  /** Waits until an element shows the text. */
  untilShown(selector, text) {
    return this.until(`${text} in ${selector}`, wanted => [...document.querySelectorAll(wanted.selector)]
      .some(element => element.textContent.includes(wanted.text)), { selector, text });
  }

  /** Waits for a line of the log. */
  untilLine(who, text) {
    return this.until(`${who}：${text}`, wanted => [...document.querySelectorAll(".log p")].some(line =>
      line.querySelector("b").textContent.replace(/[:：]$/, "") === wanted.who && line.querySelector("span").textContent.includes(wanted.text)),
    { who, text });
  }

  log() {
    return this.page.evaluate(() => [...document.querySelectorAll(".log p")].map(line =>
      [...line.querySelectorAll("b, span")].map(part => part.textContent).join("")));
  }

  /** Fits the width of its window, has a main part, and names its controls for those who cannot see them. */
  async isFitForAll() {
    const { scrollWidth, clientWidth } = await this.page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.documentElement;
      return { scrollWidth, clientWidth };
    });
    assert.ok(scrollWidth <= clientWidth, `the page is ${scrollWidth} px wide in ${clientWidth}`);
    assert.equal(await this.page.locator("main").count(), 1);
    const nameless = await this.page.evaluate(() => [...document.querySelectorAll("input, select, textarea, button")]
      .filter(control => !(control.labels?.length || control.ariaLabel || control.textContent.trim()))
      .map(control => control.outerHTML));
    assert.deepEqual(nameless, []);
  }

  async picture(name) {
    const folder = process.env.ENDPOINT_SCREENSHOTS;
    if (!folder) return;
    fs.mkdirSync(folder, { recursive: true });
    await this.page.screenshot({ path: path.join(folder, `${name}.png`) });
  }

  async close() {
    await this.page.context().close();
    windows = windows.filter(window => window !== this);
  }
}

/**
 * A page begins in English, changes to Chinese and back, and begins in the language that was chosen last. `title` has
 * both titles.
 */
async function speaksBothLanguages(window, [english, chinese]) {
  const shown = () => window.page.evaluate(() => {
    const title = document.querySelector("h1").textContent;
    return [document.documentElement.lang, title, document.querySelector("#language").textContent];
  });
  // texts in the other language than the page's, whatever they are
  const others = index => window.page.evaluate(index => [...document.querySelectorAll("[data-zh]")]
    .filter(element => element.textContent !== (index ? element.dataset.zh : element.dataset.en))
    .map(element => element.outerHTML), index);
  assert.deepEqual(await shown(), ["en", english, "中文"]);
  const letters = await window.page.evaluate(() => /[\u3400-\u9fff]/.exec(document.querySelector("main").innerText));
  assert.equal(letters, null, "an English page has no Chinese letters");
  await window.changeLanguage();
  assert.deepEqual(await shown(), ["zh-CN", chinese, "English"]);
  assert.deepEqual(await others(1), []);
  await window.page.reload();
  assert.deepEqual(await shown(), ["zh-CN", chinese, "English"]);
  await window.changeLanguage();
  assert.deepEqual(await shown(), ["en", english, "中文"]);
  assert.deepEqual(await others(0), []);
}

/**
 * Ends the server and starts it again at its port: the windows, which show a connection and English, say in red why it
 * is closed, and connect again by themselves. Returns the new server.
 */
async function comesBack(server, ...windows) {
  for (const window of windows) await window.untilState("connected");
  assert.equal(await server.terminate(), 0);
  for (const window of windows) await window.untilRed("#state", "closed: 1001 the server is shutting down; connecting again");
  const again = await server.again();
  for (const window of windows) {
    await window.untilState("connected");
    // the attempts that failed
    window.complaints = window.complaints.filter(complaint => !complaint.includes("ERR_CONNECTION_REFUSED"));
  }
  return again;
}

/** A step of a story. What runs in a page has no deadline of its own, so each step has one. */
async function check(name, body) {
  await within(name, body(), STEP_DEADLINE);
  console.log(`ok    ${name}`);
}

function browserPath() {
  if (process.env.ENDPOINT_CHROMIUM) return process.env.ENDPOINT_CHROMIUM;
  try {
    return execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
  } catch {
    return "/usr/bin/chromium";
  }
}

/** Runs the stories of a test one after the other; the first that fails is told with what the windows showed. */
async function tell(...stories) {
  browser = await chromium.launch({
    executablePath: browserPath(),
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"],
  });
  try {
    for (const story of stories) await story();
  } catch (error) {
    console.log(`FAIL  ${error.message}`);
    for (const [index, window] of windows.entries()) {
      const seen = await window.page.innerText("body").catch(trouble => String(trouble));
      console.log(`window ${index} showed\n${seen.slice(-1500)}\nand its console`, window.complaints);
      await window.picture(`failed-${index}`).catch(() => {});
    }
    process.exitCode = 1;
  } finally {
    await browser.close();
    for (const left of running) left.kill("SIGKILL");
  }
  // a story that broke off may have left something that listens
  if (process.exitCode) process.exit();
}

module.exports = { DESKTOP, PHONE, Server, Window, check, comesBack, speaksBothLanguages, tell, within };
