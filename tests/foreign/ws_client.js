"use strict";
// Node's `ws` against an echo endpoint: one line for each check.
//
//   NODE_PATH=.../node_modules node tests/foreign/ws_client.js ws://127.0.0.1:PORT/PATH [--binary] [--forgets|--keeps]
//
// --binary adds the checks for endpoints that echo binary messages too, --forgets and --keeps those for endpoints that
// compress each message by itself, or with regard to those before it.

const assert = require("node:assert/strict");
const { once } = require("node:events");
const WebSocket = require("ws");

const DEADLINE = 20_000;
const MIB = 1 << 20;
const NORMAL = 1000;

/** A connection that keeps what comes, so that nothing is missed between two waits. */
class Connection {
  static async open(url) {
    const connection = new Connection();
    connection.socket = new WebSocket(url, { maxPayload: 64 * MIB, perMessageDeflate: { threshold: 0 } });
    connection.heard = [];
    connection.waiting = [];
    connection.socket.on("message", (data, binary) => connection.hear(binary ? data : data.toString()));
    connection.closed = new Promise(resolve => {
      connection.socket.on("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    connection.broken = new Promise((_, reject) => connection.socket.on("error", reject));
    connection.broken.catch(() => {});
    await Promise.race([once(connection.socket, "open"), connection.broken]);
    return connection;
  }

  hear(message) {
    const waiter = this.waiting.shift();
    if (waiter) waiter(message);
    else this.heard.push(message);
  }

  receive() {
    if (this.heard.length) return this.heard.shift();
    const early = this.closed.then(({ code }) => { throw new Error(`closed with ${code} before the expected message`); });
    return Promise.race([new Promise(resolve => this.waiting.push(resolve)), early, this.broken]);
  }

  async pong() {
    const [payload] = await once(this.socket, "pong");
    return payload.toString();
  }
}

const echo = message => async connection => {
  connection.socket.send(message);
  expect(await connection.receive(), message);
};

const echoOfParts = parts => async connection => {
  parts.forEach((part, i) => connection.socket.send(part, { fin: i === parts.length - 1 }));
  const whole = typeof parts[0] === "string" ? parts.join("") : Buffer.concat(parts);
  expect(await connection.receive(), whole);
};

async function pipelined(connection) {
  const messages = Array.from({ length: 200 }, (_, i) => `message ${i} ${".".repeat(i)}`);
  messages.forEach(message => connection.socket.send(message));
  for (const message of messages) expect(await connection.receive(), message);
}

const FORGETS = { server_no_context_takeover: true, client_no_context_takeover: true };

const agreed = parameters => async connection =>
  assert.deepEqual({ ...connection.socket._extensions["permessage-deflate"]?.params }, parameters);

// a large message takes few bytes in both directions; the same once more hardly any where contexts are kept
const small = keeps => async connection => {
  const digits = Array.from({ length: 20_000 }, (_, i) => (i * i) % 9973).join(" ");
  const sizes = [];
  for (let turn = 0; turn < 3; turn++) {
    const { bytesRead, bytesWritten } = connection.socket._socket;
    connection.socket.send(digits.slice(0, 10_000));
    expect(await connection.receive(), digits.slice(0, 10_000));
    const { bytesRead: read, bytesWritten: written } = connection.socket._socket;
    sizes.push([written - bytesWritten, read - bytesRead]);
  }
  const most = sizes.map((_, turn) => (keeps && turn ? 1_000 : 8_000));
  sizes.forEach(([sent, received], turn) => assert.ok(sent < most[turn] && received < most[turn], `${sizes.join(" / ")}`));
};

async function resembling(connection) {
  const sizes = [0, 1, 100, 511, 512, 513, 5_000, 40_000, 300_000];
  const words = "to be or not to be; that is the question ".repeat(10_000);
  for (let turn = 0; turn < 3; turn++) {
    const messages = sizes.map(size => words.slice(turn, size + 2 * turn));
    // what does not compress is between them
    messages.splice(4, 0, require("node:crypto").randomBytes(1_000).toString("base64"));
    messages.forEach(message => connection.socket.send(message));
    for (const message of messages) expect(await connection.receive(), message);
  }
}

const ping = payload => async connection => {
  connection.socket.ping(payload);
  expect(await connection.pong(), payload);
};

async function pingBetweenFragments(connection) {
  connection.socket.send("before ", { fin: false });
  connection.socket.ping("in between");
  expect(await connection.pong(), "in between");
  connection.socket.send("after", { fin: true });
  expect(await connection.receive(), "before after");
}

const close = (code, reason) => async connection => {
  connection.socket.close(code, reason);
  expect((await connection.closed).code, code);
};

function expect(received, wanted) {
  const same = Buffer.isBuffer(wanted) ? Buffer.isBuffer(received) && wanted.equals(received) : received === wanted;
  assert.ok(same, `received ${short(received)}, not ${short(wanted)}`);
}

function short(value) {
  const text = Buffer.isBuffer(value) ? `<${value.subarray(0, 24).toString("hex")}>` : JSON.stringify(value);
  return text.length <= 80 ? text : `${text.slice(0, 60)}… (length ${value.length})`;
}

async function main() {
  const url = process.argv.slice(2).find(argument => !argument.startsWith("--"));
  if (!url) {
    console.error("usage: ws_client.js ws://HOST:PORT/PATH [--binary] [--forgets|--keeps]");
    return 2;
  }
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  const checks = [
    ["text", echo("hello")],
    ["text that is not ASCII", echo("你好，世界 👋 ¿qué?")],
    ["empty text", echo("")],
    ["1 MiB of text", echo("x".repeat(MIB))],
    ["1 MiB of text that is not ASCII", echo("长".repeat(Math.floor(MIB / 3)))],
    ["text in fragments", echoOfParts(["frag", "men", "", "ted 分", "片"])],
    ["200 messages sent before any is read come back in order", pipelined],
    ["a ping is answered with its payload", ping("are you there?")],
    ["an empty ping is answered", ping("")],
    ["a ping between two fragments is answered", pingBetweenFragments],
    ["close 4001 with a reason is answered with the same code", close(4001, "下班了")],
    ["close 1000 is answered", close(NORMAL, "")],
  ];
  if (process.argv.includes("--binary")) {
    checks.push(
      ["binary", echo(bytes)],
      ["empty binary", echo(Buffer.alloc(0))],
      ["1 MiB of binary", echo(Buffer.alloc(MIB, bytes))],
      ["binary in fragments", echoOfParts([Buffer.from([0, 255]), Buffer.alloc(0), Buffer.from([254])])],
    );
  }
  for (const [option, keeps, parameters] of [["--forgets", false, FORGETS], ["--keeps", true, {}]]) {
    if (!process.argv.includes(option)) continue;
    checks.push(
      [`compression is agreed on, and the contexts are ${keeps ? "kept" : "forgotten"}`, agreed(parameters)],
      ["what is compressed is small", small(keeps)],
      ["messages that resemble each other", resembling],
    );
  }

  let failed = 0;
  for (const [name, check] of checks) {
    let connection;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`nothing within ${DEADLINE / 1000} s`)), DEADLINE);
    });
    const run = async () => {
      connection = await Connection.open(url);
      await check(connection);
      connection.socket.close(NORMAL);
      await connection.closed;
    };
    try {
      await Promise.race([run(), late]);
      console.log(`ok    ws: ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ws: ${name}: ${error.message}`);
    } finally {
      clearTimeout(timer);
      connection?.socket.terminate();
    }
  }
  return failed ? 1 : 0;
}

main().then(status => { process.exitCode = status; });
