"use strict";
// Drives the page of handshake: the fields it shows are those of its own connection, and change with what is chosen.

const assert = require("node:assert/strict");
const { PHONE, Server, Window, check, comesBack, speaksBothLanguages, tell } = require("./windows.js");

/** The fields of a table of the page, by their names. */
function fields(window, id) {
  return window.page.evaluate(id => Object.fromEntries([...document.querySelectorAll(`#${id} tbody tr`)].map(row =>
    [row.dataset.name, row.cells[1].textContent])), id);
}

/** Chooses exactly these, and shakes hands. */
async function choose(window, subprotocols, path) {
  for (const box of await window.page.locator("[name=subprotocol]").all()) {
    await box.setChecked(subprotocols.includes(await box.getAttribute("value")));
  }
  await window.page.check(`[value="${path}"]`);
  await window.page.click("#again");
}

async function fieldByField() {
  let server = await Server.start("handshake");
  const window = await Window.open(server.urls.page, { viewport: { width: 1000, height: 760 } });
  await window.untilState("connected");
  await window.untilShown("#response td", "This page has computed it: correct");

  await check("the request and the response are those of this connection", async () => {
    const [request, response] = [await fields(window, "request"), await fields(window, "response")];
    assert.equal(request.host, new URL(server.urls.page).host);
    assert.equal(request.origin, new URL(server.urls.page).origin);
    assert.equal(request["sec-websocket-key"].length, 24);
    assert.equal(request["sec-websocket-version"], "13");
    assert.equal(request["user-agent"], await window.page.evaluate(() => navigator.userAgent));
    assert.equal(response.upgrade.toLowerCase(), "websocket");
    assert.equal(response["sec-websocket-accept"].length, 28);
  });

  await check("every field is explained", async () => {
    const unknown = await window.page.evaluate(() => [...document.querySelectorAll("tbody tr")]
      .filter(row => row.cells[2].textContent === "Not part of WebSocket").map(row => row.dataset.name));
    // what a browser sends of its own is in the list; Sec-GPC and their like may come
    assert.ok(unknown.length <= 2, unknown.join());
  });

  await check("the server's choices match those of the browser", async () => {
    const response = await fields(window, "response");
    const { protocol, extensions } = await window.page.evaluate(() => ({ protocol: connection.socket.protocol, extensions: connection.socket.extensions }));
    assert.equal(response["sec-websocket-protocol"], protocol);
    assert.equal(protocol, "table.v1");
    assert.equal(response["sec-websocket-extensions"], extensions);
    assert.match(extensions, /^permessage-deflate/);
    await window.untilShown("#outcome", "match");
  });
  await window.isFitForAll();
  await window.picture("handshake");
  await check("speaks both languages", async () => {
    await speaksBothLanguages(window, ["WebSocket handshake", "WebSocket 握手"]);
    await window.untilState("connected");
  });

  await check("without compression and with both subprotocols, the client's first is selected", async () => {
    const before = await window.page.textContent("#request [data-name=sec-websocket-key] td:nth-child(2)");
    await choose(window, ["table.v1", "table.v2"], "/plain");
    await window.untilShown("#outcome", "extensions: none");
    const [request, response] = [await fields(window, "request"), await fields(window, "response")];
    assert.notEqual(request["sec-websocket-key"], before);
    assert.equal(request["sec-websocket-protocol"], "table.v1, table.v2");
    assert.equal(response["sec-websocket-protocol"], "table.v1");
    assert.match(request["sec-websocket-extensions"], /^permessage-deflate/);
    assert.equal(response["sec-websocket-extensions"], undefined);
  });

  await check("no subprotocol offered, none selected", async () => {
    await choose(window, [], "/compressed");
    await window.untilShown("#outcome", "Subprotocol chosen by the server: none; extensions: permessage-deflate");
    assert.equal((await fields(window, "request"))["sec-websocket-protocol"], undefined);
  });
  assert.deepEqual(window.complaints, []);

  await check("with an unknown subprotocol the browser fails the handshake, and the page shows why", async () => {
    await choose(window, ["table.v9"], "/compressed");
    await window.untilState("closed: no connection to the server");
    await window.untilRed("#trouble", "selected none of the offered subprotocols");
  });

  await check("reconnects after a restart, with another handshake", async () => {
    await choose(window, ["table.v2"], "/compressed");
    await window.untilState("connected");
    await window.untilShown("#outcome", "table.v2");
    const key = (await fields(window, "request"))["sec-websocket-key"];
    window.complaints.length = 0;
    server = await comesBack(server, window);
    await window.until("another key", key => document.querySelector("#request [data-name=sec-websocket-key] td:nth-child(2)").textContent !== key, key);
    assert.deepEqual(window.complaints, []);
  });
  await window.close();
  await server.terminate();
}

async function onAPhone() {
  const server = await Server.start("handshake");
  const window = await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" });
  await window.untilShown("#response td", "This page has computed it: correct");
  await window.changeLanguage();
  await window.untilShown("#response td", "本页算了，正确");
  await check("fits a phone", () => window.isFitForAll());
  await window.picture("handshake-phone-dark");
  await window.close();
  await server.terminate();
}

tell(fieldByField, onAPhone);
