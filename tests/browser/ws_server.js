"use strict";
// Drives the page of ws_server: the echo, the close handshake in both directions, TLS, and the page opened from disk.

const assert = require("node:assert/strict");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { PHONE, Server, Window, check, comesBack, speaksBothLanguages, tell } = require("./windows.js");

const PAGE_FILE = path.join(__dirname, "../../examples/ws_server/page.html");

function untilLastLineIsInView(window) {
  return window.until("the log's last line to be in view", () => {
    const log = document.querySelector("#log");
    const last = log.lastElementChild.getBoundingClientRect();
    return log.scrollTop > 0 && last.bottom <= log.getBoundingClientRect().bottom;
  });
}

async function say(window, text) {
  await window.page.fill("#content", text);
  await window.page.click("#send");
}

async function disconnect(window, code, reason) {
  await window.page.fill("#close-code", String(code));
  await window.page.fill("#close-reason", reason);
  await window.page.click("#disconnect");
}

async function servedPage() {
  let server = await Server.start("ws_server");
  const window = await Window.open(server.urls.page);
  const { page } = window;

  await check("connects by itself to the address of its own host", async () => {
    await window.untilState("connected");
    assert.equal(await page.inputValue("#url"), server.urls.endpoint);
  });

  await check("speaks both languages", async () => {
    await speaksBothLanguages(window, ["WebSocket client", "WebSocket 客户端"]);
    await window.untilState("connected");
  });

  await check("negotiates compression with the server", async () => {
    const extensions = await page.evaluate(() => connection.socket.extensions);
    assert.equal(extensions, "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
  });

  await check("sends with the button and shows the echo", async () => {
    await say(window, "你好，世界 👋");
    await window.untilLine("Server", "你好，世界 👋");
    await window.untilLine("Me", "你好，世界 👋");
    assert.equal(await page.inputValue("#content"), "");
  });

  await check("sends with Enter, breaks the line with Shift+Enter", async () => {
    await page.focus("#content");
    await page.keyboard.type("first");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("second");
    await page.keyboard.press("Enter");
    await window.untilLine("Server", "first\nsecond");
  });

  await check("clear empties the input and sends nothing", async () => {
    const before = (await window.log()).length;
    await page.fill("#content", "not sent");
    await page.click("#clear");
    assert.equal(await page.inputValue("#content"), "");
    assert.equal((await window.log()).length, before);
  });

  await check("shows markup as text", async () => {
    const markup = "<img src=x onerror=\"document.title='run'\"><b>bold</b>";
    await say(window, markup);
    await window.untilLine("Server", markup);
    assert.equal(await page.locator("#log img").count(), 0);
    assert.notEqual(await page.title(), "run");
  });

  await check("shows an empty message, and the start of a large one with its length", async () => {
    const before = (await window.log()).length;
    await say(window, "");
    await window.until("the empty echo", n => document.querySelectorAll("#log p").length === n, before + 2);
    // three bytes each: just below the 1 MiB that an endpoint takes by default
    await say(window, "长".repeat(340_000));
    await window.untilLine("Server", "(the first of 340000 characters)");
  });

  await check("follows the end of the log", async () => {
    for (let i = 0; i < 40; i++) await say(window, `line ${i}`);
    await window.untilLine("Server", "line 39");
    await untilLastLineIsInView(window);
  });

  await check("keeps the scroll position", async () => {
    await page.locator("#log").evaluate(log => { log.scrollTop = 0; });
    await page.evaluate(() => new Promise(requestAnimationFrame));
    await page.evaluate(() => log.add("system", "system", "one more line"));
    assert.equal(await page.locator("#log").evaluate(log => log.scrollTop), 0);
  });
  await say(window, "this line scrolls the log to its end");
  await window.untilLine("Server", "this line scrolls the log to its end");

  await check("refuses a close code that a page may not send", async () => {
    await disconnect(window, 1001, "");
    await window.untilRed("#log .error span", "3000–4999");
    await window.untilState("connected");
  });

  await check("refuses a reason that does not fit into a close frame", async () => {
    await disconnect(window, 1000, "长".repeat(42));
    await window.untilRed("#log .error span", "123 bytes");
    await window.untilState("connected");
  });

  await check("closes with code and reason, and the server echoes them", async () => {
    await disconnect(window, 4001, "that is all – bye");
    await window.untilLine("System", "closing: 4001 that is all – bye");
    await window.untilState("closed: 4001 that is all – bye");
    await window.untilLine("System", "disconnected: 4001 that is all – bye");
    await untilLastLineIsInView(window);
  });

  await check("shows an error when it cannot send, and keeps the message", async () => {
    await say(window, "too late");
    await window.untilRed("#log .error span", "not connected");
    assert.equal(await page.inputValue("#content"), "too late");
  });

  await check("reconnects and sends", async () => {
    await page.click("#connect");
    await window.untilState("connected");
    await say(window, "back again");
    await window.untilLine("Server", "back again");
  });
  await window.picture("ws_server");

  await check("reconnects after a restart of the server", async () => {
    assert.deepEqual(window.complaints, []);
    server = await comesBack(server, window);
    await window.untilRed("#log .error span", "disconnected: 1001 the server is shutting down");
    await say(window, "after the restart");
    await window.untilLine("Server", "after the restart");
    assert.deepEqual(window.complaints, []);
  });

  await check("disconnects while the server is down, and stays closed", async () => {
    await server.terminate();
    await window.untilState("closed: 1001 the server is shutting down; connecting again");
    await window.picture("ws_server-lost");
    await page.fill("#close-code", "1000");
    await page.fill("#close-reason", "");
    await page.click("#disconnect");
    await window.until("the last word", () => document.querySelector("#state").textContent === "closed: 1001 the server is shutting down");
  });

  await check("shows an error when there is no server", async () => {
    await page.click("#connect");
    await window.untilRed("#log .error span", "cannot connect to ws://");
    await window.untilRed("#state", "closed: no connection to the server");
  });

  await check("shows an error for an invalid address", async () => {
    await page.fill("#url", "nonsense://host");
    await page.click("#connect");
    await window.untilRed("#log .error span", "not a WebSocket address: nonsense://host");
  });
  await window.close();
}

async function smallAndDark() {
  const server = await Server.start("ws_server", "--lang", "zh");
  const window = await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" });
  await window.untilState("已连接");

  await check("needs no horizontal scrolling on a phone", async () => {
    await say(window, "一条比较长的消息，在手机上要换行才看得完，这里就看它换不换。");
    await say(window, "x".repeat(400));
    await window.untilLine("对方", "x".repeat(400));
    const { scrollWidth, clientWidth } = await window.page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.querySelector("#log");
      return { scrollWidth, clientWidth };
    });
    assert.ok(scrollWidth <= clientWidth, `the log is ${scrollWidth} px wide in ${clientWidth}`);
    await window.isFitForAll();
  });
  assert.equal(await window.page.getAttribute("#log", "aria-live"), "polite");
  assert.deepEqual(window.complaints, []);
  await window.picture("ws_server-phone-dark");
  await window.close();
  await server.terminate();
}

async function overTls() {
  const server = await Server.start("ws_server", "--tls");
  // the certificate is one that the server made itself
  const window = await Window.open(server.urls.page, { ignoreHTTPSErrors: true });

  await check("over TLS: page and endpoint use https and wss, and the echo arrives", async () => {
    assert.match(server.urls.page, /^https:/);
    assert.match(server.urls.endpoint, /^wss:/);
    await window.untilState("connected");
    assert.equal(await window.page.inputValue("#url"), server.urls.endpoint);
    await say(window, "encrypted 🔒");
    await window.untilLine("Server", "encrypted 🔒");
    await say(window, "长".repeat(340_000));
    await window.untilLine("Server", "(the first of 340000 characters)");
  });

  await check("over TLS: the server's close arrives as 1001", async () => {
    assert.equal(await server.terminate(), 0);
    await window.untilState("closed: 1001 the server is shutting down");
  });
  await window.close();
}

async function fromDisk() {
  const window = await Window.open(pathToFileURL(PAGE_FILE).href);

  await check("from disk: shows the default address and how to start the server", async () => {
    assert.equal(await window.page.inputValue("#url"), "ws://127.0.0.1:8080/websocket/ws");
    await window.untilState("not connected");
    assert.match(await window.page.innerText("#disk"), /--allow-any-origin/);
  });

  for (const [options, outcome, line] of [
    [[], "is refused by a server as it is", "cannot connect to"],
    [["--allow-any-origin"], "is accepted with --allow-any-origin", "connected to"],
  ]) {
    await check(`from disk: ${outcome}`, async () => {
      const server = await Server.start("ws_server", ...options);
      await window.page.fill("#url", server.urls.endpoint);
      await window.page.click("#connect");
      await window.untilLine("System", `${line} ${server.urls.endpoint}`);
      await server.terminate();
      await window.untilState("closed: ");
    });
  }
  await window.close();
}

tell(servedPage, smallAndDark, overTls, fromDisk);
