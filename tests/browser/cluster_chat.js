"use strict";
// Drives the page of cluster_chat on three nodes with Redis between them: windows on different nodes, one of them behind a
// proxy; a node that is killed, and an engine that goes and comes back.
//
// ENDPOINT_REDIS_SERVER  the engine (default: redis-server on the PATH)

const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const net = require("node:net");
const os = require("node:os");
const { PHONE, Server, Window, check, speaksBothLanguages, tell, within } = require("./windows.js");

const NODES = ["a", "b", "c"];

/** Redis on a port that it keeps when it is started again. */
class Redis {
  async start() {
    this.port ??= await freePort();
    const options = ["--port", this.port, "--bind", "127.0.0.1", "--dir", os.tmpdir(), "--save", ""];
    this.process = spawn(process.env.ENDPOINT_REDIS_SERVER || "redis-server", options, { stdio: "ignore" });
    const failed = new Promise((_, reject) => this.process.once("error", reject));
    await within("Redis to listen", Promise.race([this.listens(), failed]));
    return this;
  }

  async listens() {
    while (!await canConnect(this.port)) await pause(20);
  }

  async kill() {
    const ended = new Promise(resolve => this.process.once("exit", resolve));
    this.process.kill("SIGKILL");
    await ended;
  }

  get url() {
    return `redis://127.0.0.1:${this.port}/`;
  }
}

/** A proxy: each connection goes to the first of the ports that accepts it. */
function proxyTo(ports) {
  const proxy = net.createServer(client => {
    const connect = ([port, ...others]) => {
      if (!port) return client.destroy();
      const server = net.connect(port, "127.0.0.1");
      server.once("connect", () => {
        client.pipe(server).pipe(client);
        server.once("close", () => client.destroy());
        client.once("close", () => server.destroy());
      });
      server.once("error", () => server.bytesWritten ? client.destroy() : connect(others));
    };
    client.on("error", () => client.destroy());
    connect(ports);
  });
  return new Promise(resolve => proxy.listen(0, "127.0.0.1", () => resolve(proxy)));
}

function canConnect(port) {
  return new Promise(resolve => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => { socket.destroy(); resolve(true); });
    socket.once("error", () => resolve(false));
  });
}

/** A port below those that the system gives to outgoing connections. */
async function freePort() {
  const port = 16_000 + Math.floor(Math.random() * 15_000);
  return await canConnect(port) ? freePort() : port;
}

function pause(milliseconds) {
  return new Promise(resolve => setTimeout(resolve, milliseconds));
}

async function enter(window, name) {
  await window.page.fill("#name", name);
  await window.page.fill("#room", "tea house");
  await window.page.keyboard.press("Enter");
  await window.untilState("connected");
}

async function say(window, message) {
  await window.page.fill("#message", message);
  await window.page.keyboard.press("Enter");
}

/** Waits for a line that names the node of its writer. */
async function untilLineFrom(window, who, text, node) {
  await window.untilLine(who, text);
  const shown = await window.page.locator(".log p", { hasText: text }).last().locator(".node").textContent();
  assert.equal(shown, node);
}

/** Waits until every window lists exactly these users. Returns how long that took. */
async function untilPresent(windows, names) {
  const start = Date.now();
  for (const window of windows) {
    await window.until(`exactly ${names} to be here`, wanted => {
      const shown = [...document.querySelectorAll("#names li > span")].map(name => name.textContent);
      return shown.join() === wanted;
    }, names.join());
  }
  return Date.now() - start;
}

const servedBy = window => window.page.textContent("#node");

async function untilServedBy(window, node) {
  await window.until(`to be served by ${node}`, node => document.querySelector("#node").textContent === node, node);
}

async function threeNodes(redis) {
  const nodes = {};
  for (const name of NODES) nodes[name] = await Server.start("cluster_chat", "--node", name, "--redis", redis.url);
  const ports = ["c", "a", "b"].map(name => Number(new URL(nodes[name].urls.page).port));
  const proxy = await proxyTo(ports);
  const ann = await Window.open(nodes.a.urls.page);
  const ben = await Window.open(nodes.b.urls.page, { viewport: PHONE, colorScheme: "dark" });
  const cid = await Window.open(`http://127.0.0.1:${proxy.address().port}/`);
  const all = [ann, ben, cid];

  await check("speaks both languages", async () => {
    await speaksBothLanguages(ann, ["Cluster chat", "集群聊天室"]);
    assert.ok(await ann.page.isDisabled("#message"));
  });

  await check("every window lists the users of all nodes, and its own node", async () => {
    await enter(ann, "ann");
    await enter(ben, "ben");
    await enter(cid, "cid");
    const took = await untilPresent(all, ["ann", "ben", "cid"]);
    assert.ok(took < 2000, `${took} ms`);
    for (const [window, node, others] of [[ann, "a", "b, c"], [ben, "b", "a, c"], [cid, "c", "a, b"]]) {
      await untilServedBy(window, node);
      await window.untilShown("#peers", others);
      await window.untilShown("#engine", "redis");
      await window.untilShown("#lost", "0");
      assert.ok(await window.page.isHidden("#alone"));
    }
  });

  await check("a line reaches every window, with the node of its writer", async () => {
    for (const [window, who, text, node] of [[ann, "ann", "Hello from the first node", "a"], [ben, "ben", "And from a phone on the second", "b"],
      [cid, "cid", "I came through a proxy: 哪个节点都一样", "c"]]) {
      await say(window, text);
      for (const hears of all) await untilLineFrom(hears, who, text, node);
    }
  });

  for (const window of all) await check("fits its window and names its controls", () => window.isFitForAll());
  await ann.picture("cluster_chat");
  await ben.picture("cluster_chat-phone-dark");

  await check("shows markup as text", async () => {
    await say(ann, "<b>bold</b>");
    for (const window of all) await untilLineFrom(window, "ann", "<b>bold</b>", "a");
  });

  await check("a user with two windows is listed once, and goes with the last of them after the grace", async () => {
    const [dan, other] = [await Window.open(nodes.a.urls.page), await Window.open(nodes.b.urls.page)];
    await enter(dan, "dan");
    await enter(other, "dan");
    await untilPresent(all, ["ann", "ben", "cid", "dan"]);
    await ann.untilShown("#names", "×2");
    await other.close();
    await dan.close();
    await pause(2000);
    await untilPresent(all, ["ann", "ben", "cid", "dan"]);
    await untilPresent(all, ["ann", "ben", "cid"]);
  });

  await check("a node without its engine is alone and says so, until the engine is back", async () => {
    await redis.kill();
    // the text is there before it is visible
    for (const window of all) await window.until("the engine to be away", () => !document.querySelector("#alone").hidden);
    for (const window of all) await window.untilShown("#alone", "The engine (redis) is away. This node is alone: messages reach this node only.");
    await say(ann, "Is anybody there?");
    await untilLineFrom(ann, "ann", "Is anybody there?", "a");
    await ann.picture("cluster_chat-alone");
    await redis.start();
    for (const window of all) await window.until("the engine to be back", () => document.querySelector("#alone").hidden);
    await untilPresent(all, ["ann", "ben", "cid"]);
    await say(cid, "We are back");
    for (const window of all) await untilLineFrom(window, "cid", "We are back", "c");
  });

  await check("when a node is killed, its users connect to another one or leave", async () => {
    for (const window of all) assert.deepEqual(window.complaints, []);
    const eve = await Window.open(nodes.c.urls.page);
    await enter(eve, "eve");
    await untilPresent([...all, eve], ["ann", "ben", "cid", "eve"]);
    nodes.c.process.kill("SIGKILL");
    await nodes.c.ended;
    const start = Date.now();
    await cid.untilState("connected");
    await untilServedBy(cid, "a");
    await untilPresent(all, ["ann", "ben", "cid"]);
    const took = Date.now() - start;
    console.log(`      the lists were right after ${took} ms`);
    await say(cid, "On another node");
    for (const window of all) await untilLineFrom(window, "cid", "On another node", "a");
    await ann.untilShown("#peers", "b");
    await cid.picture("cluster_chat-node-killed");
    await eve.close();
    assert.ok(took < 10_000, `${took} ms`);
  });

  await check("leaves, and forgets what it knew", async () => {
    await ben.page.click("#leave");
    await ben.untilState("closed: 1000 left");
    assert.equal(await servedBy(ben), "–");
    await untilPresent([ben], []);
    await untilPresent([ann, cid], ["ann", "cid"]);
  });

  for (const window of all) await window.close();
  for (const name of ["a", "b"]) assert.equal(await nodes[name].terminate(), 0);
  proxy.close();
}

tell(async () => {
  const redis = await new Redis().start();
  try {
    await threeNodes(redis);
  } finally {
    redis.process.kill("SIGKILL");
  }
});
