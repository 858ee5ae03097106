"use strict";
// Chromium over TLS: a page that came by HTTP/2 opens its WebSockets on the same connection (RFC 8441), and by HTTP/1.1 where
// the server does not speak HTTP/2. The server says which it was.

const assert = require("node:assert/strict");
const { Server, Window, check, tell } = require("./windows.js");

/** Opens a WebSocket in the page, sends the texts, and returns the answers. */
function ask(window, url, texts) {
  return window.page.evaluate(([url, texts]) => new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    const answers = [];
    (window.sockets ??= []).push(socket);
    socket.closed = new Promise(resolve => socket.addEventListener("close", resolve));
    socket.onopen = () => texts.forEach(text => socket.send(text));
    socket.onmessage = ({ data }) => answers.push(data) === texts.length && resolve(answers);
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
  }), [url, texts]);
}

function protocolOfPage(window) {
  return window.page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
}

async function overHttp2() {
  const server = await Server.start("http2_server");
  const window = await Window.open(server.urls.page, { ignoreHTTPSErrors: true });
  const { endpoint } = server.urls;

  await check("the page came by HTTP/2", async () => {
    assert.equal(await protocolOfPage(window), "h2");
  });

  await check("the server says that the WebSocket came by HTTP/2", async () => {
    assert.deepEqual(await ask(window, endpoint, ["version?"]), [`HTTP/2.0 ${endpoint}`]);
  });

  await check("messages of many sizes come back, compressed", async () => {
    const texts = ["", "hello", "长".repeat(300_000)];
    assert.deepEqual(await ask(window, endpoint, texts), texts);
    const extensions = await window.page.evaluate(() => window.sockets.at(-1).extensions);
    assert.match(extensions, /^permessage-deflate/);
  });

  await check("twenty WebSockets are open at a time", async () => {
    const all = await Promise.all(Array.from({ length: 18 }, () => ask(window, endpoint, ["version?", "hi"])));
    assert.ok(all.every(([version]) => version.startsWith("HTTP/2.0")));
    assert.deepEqual(await ask(window, endpoint, ["sessions?"]), ["21"]);
  });

  await check("code and reason of a close pass in both directions", async () => {
    const closed = await window.page.evaluate(async () => {
      const socket = window.sockets.pop();
      socket.close(4001, "bye");
      const { code, reason, wasClean } = await socket.closed;
      return { code, reason, wasClean };
    });
    assert.deepEqual(closed, { code: 4001, reason: "bye", wasClean: true });
  });

  await check("a shutdown arrives as 1001", async () => {
    assert.equal(await server.terminate(), 0);
    const codes = await window.page.evaluate(async () => {
      const events = await Promise.all(window.sockets.map(socket => socket.closed));
      return events.map(({ code }) => code);
    });
    assert.deepEqual(new Set(codes), new Set([1001]));
  });
  await window.close();
}

async function overHttp1() {
  const server = await Server.start("http2_server", "--no-http2");
  const window = await Window.open(server.urls.page, { ignoreHTTPSErrors: true });

  await check("without HTTP/2 both come by HTTP/1.1", async () => {
    assert.equal(await protocolOfPage(window), "http/1.1");
    assert.deepEqual(await ask(window, server.urls.endpoint, ["version?"]), [`HTTP/1.1 ${server.urls.endpoint}`]);
  });
  await server.terminate();
  await window.close();
}

tell(overHttp2, overHttp1);
