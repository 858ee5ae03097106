"use strict";
// Drives the page of polling_vs_push, and compares what it has measured with what the server has counted.

const assert = require("node:assert/strict");
const { PHONE, Server, Window, check, comesBack, speaksBothLanguages, tell } = require("./windows.js");

async function bothWaysAtOnce() {
  let server = await Server.start("polling_vs_push");
  const window = await Window.open(server.urls.page, { viewport: { width: 1000, height: 800 } });
  await window.untilState("connected");

  await check("both ways bring the same events", async () => {
    await window.until("six events", () => ways.polling.events >= 6 && ways.push.events >= 6);
    await window.until("as many by both", () => ways.polling.events === ways.push.events);
  });

  await check("polling often asks for nothing, a push asks once", async () => {
    await window.until("a poll for nothing", () => ways.polling.empty > 0);
    const { requests, empty } = await window.page.evaluate(() => ways.polling);
    assert.ok(empty < requests, `${empty} of ${requests}`);
    assert.equal(await window.page.evaluate(() => ways.push.requests), 1);
  });

  await check("what is pushed is there sooner, and costs less", async () => {
    const { polling, push } = await window.page.evaluate(() => ways);
    assert.ok(push.delays / push.events < polling.delays / polling.events, `${push.delays} of ${polling.delays} ms`);
    assert.ok(push.bytes < polling.bytes, `${push.bytes} of ${polling.bytes}`);
  });

  await check("the charts show both, and the table the totals", async () => {
    await window.until("lines", () => document.querySelectorAll("figure polyline[points*=',']").length === 6);
    assert.match(await window.page.getAttribute("#bytes", "aria-label"), /polling [\d,]+, push [\d,]+/);
    await window.untilShown("#totals th", "of these without an event");
  });
  await window.isFitForAll();
  await window.picture("polling_vs_push");

  await check("pausing closes the socket and asks no more", async () => {
    await window.page.click("#toggle");
    await window.untilState("closed: 1000 paused");
  });

  await check("the page has measured what the server has counted, byte by byte", async () => {
    // an answer may still have been under way
    await window.until("the last answer", () => counts().then(counted => counted.polling.requests === ways.polling.requests));
    const [counted, { polling, push }] = await window.page.evaluate(async () => [await counts(), ways]);
    assert.deepEqual([polling.requests, polling.bytes], [counted.polling.requests, counted.polling.bytes]);
    // one message says what the handshake was
    assert.deepEqual([push.requests, push.events + 1, push.bytes],
      [counted.push.requests, counted.push.messages, counted.push.bytes]);
  });

  await check("goes on", async () => {
    await window.page.click("#toggle");
    await window.untilState("connected");
    const before = await window.page.evaluate(() => ways.push.events);
    await window.until("another event", events => ways.push.events > events, before);
  });

  await check("speaks both languages", async () => {
    await speaksBothLanguages(window, ["Polling and push", "ajax 轮询和推送"]);
    await window.untilState("connected");
  });

  await check("comes back after a restart: both ways bring new events", async () => {
    assert.deepEqual(window.complaints, []);
    await window.page.selectOption("#every", "200");
    server = await comesBack(server, window);
    const before = await window.page.evaluate(() => [ways.polling.events, ways.push.events]);
    await window.until("new events", ([polling, push]) => ways.polling.events > polling && ways.push.events > push, before);
    await window.until("no trouble", () => document.querySelector("#trouble").hidden);
    assert.deepEqual(window.complaints, []);
  });

  await check("says in red that a poll has failed", async () => {
    await server.terminate();
    await window.untilRed("#trouble", "A poll failed:");
    await window.untilRed("#state", "closed: 1001 the server is shutting down");
  });
  await window.close();
}

async function onAPhone() {
  const server = await Server.start("polling_vs_push");
  const window = await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" });
  await check("on a phone: fits, and asks as often as it is told", async () => {
    await window.page.selectOption("#every", "200");
    await window.until("25 requests and events", () => ways.polling.requests >= 25 && ways.push.events >= 3);
    await window.isFitForAll();
    await window.changeLanguage();
    assert.equal(await window.page.innerText("#totals th"), "请求");
    await window.isFitForAll();
  });
  await window.page.evaluate(() => scrollTo(0, 150));
  await window.picture("polling_vs_push-phone-dark");
  await window.close();
  await server.terminate();
}

tell(bothWaysAtOnce, onAPhone);
