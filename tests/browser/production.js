"use strict";
// Drives the page of production, which shows the state of the server while sessions come, talk, and leave.

const assert = require("node:assert/strict");
const { PHONE, Server, Window, check, speaksBothLanguages, tell } = require("./windows.js");

/** A WebSocket of a window, with so many messages sent and echoed. */
function talk(window, url, messages) {
  return window.page.evaluate(([url, messages]) => new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    let echoed = 0;
    socket.onopen = () => { for (let index = 0; index < messages; index++) socket.send("hello"); };
    socket.onmessage = () => { if (++echoed === messages) resolve(); };
    socket.onerror = () => reject(new Error(`cannot connect to ${url}`));
    (window.sockets ??= []).push(socket);
  }), [url, messages]);
}

async function stateOfTheServer() {
  // the page of the operators has another port, and so another origin
  const server = await Server.start("production", "--admin-addr", "127.0.0.1:0", "--allowed-origins", "*", "--drain", "4s");
  const [desktop, phone] = [
    await Window.open(server.urls.page),
    await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" }),
  ];

  await check("the page shows sessions and messages as they come", async () => {
    for (const window of [desktop, phone]) await window.untilState("accepts sessions");
    for (let session = 0; session < 3; session++) await talk(desktop, server.urls.endpoint, 100);
    for (const window of [desktop, phone]) {
      await window.untilShown("#sessions", "3");
      await window.untilShown("#endpoints", "300");
      await window.untilShown("#handshakes", "101");
    }
  });

  await check("and how sessions end", async () => {
    await desktop.page.evaluate(() => sockets.forEach(socket => socket.close(1000)));
    await desktop.untilShown("#closes", "1000 normal closure");
    await desktop.untilShown("#sessions", "0");
  });

  for (const window of [desktop, phone]) await check("fits its window and names its controls", () => window.isFitForAll());
  await talk(desktop, server.urls.endpoint, 50);
  await desktop.picture("production");
  await phone.picture("production-phone-dark");
  await check("speaks both languages", () => speaksBothLanguages(desktop, ["State of the server", "服务器的状态"]));

  await check("the page tells that the server drains", async () => {
    // they leave one after another
    for (let session = 0; session < 4; session++) await talk(desktop, server.urls.endpoint, 1);
    const ended = server.terminate();
    await phone.untilState("draining");
    assert.equal(await ended, 0);
  });
}

tell(stateOfTheServer);
