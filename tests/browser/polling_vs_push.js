"use strict";
// Drives the page of polling_vs_push, and compares what it has measured with what the server has counted.

const assert = require("node:assert/strict");
const { PHONE, Server, Window, check, comesBack, speaksBothLanguages, tell } = require("./windows.js");

async function bothWaysAtOnce() {
  let server = await Server.start("polling_vs_push");
  const window = await Window.open(server.urls.page, { viewport: { width: 1000, height: 800 } });
  await window.untilState("connected");

  await check("polling and push deliver the same events", async () => {
    await window.until("six events", () => ways.polling.events >= 6 && ways.push.events >= 6);
    await window.until("as many by both", () => ways.polling.events === ways.push.events);
  });

  await check("polling often returns nothing, push needs one request", async () => {
    await window.until("a poll for nothing", () => ways.polling.empty > 0);
    const { requests, empty } = await window.page.evaluate(() => ways.polling);
    assert.ok(empty < requests, `${empty} of ${requests}`);
    assert.equal(await window.page.evaluate(() => ways.push.requests), 1);
  });

  await check("push is faster and costs less", async () => {
    const { polling, push } = await window.page.evaluate(() => ways);
    assert.ok(push.delays / push.events < polling.delays / polling.events, `${push.delays} of ${polling.delays} ms`);
    assert.ok(push.bytes < polling.bytes, `${push.bytes} of ${polling.bytes}`);
  });

  await check("the charts show both, the table shows the totals", async () => {
    await window.until("lines", () => document.querySelectorAll("figure polyline[points*=',']").length === 6);
    assert.match(await window.page.getAttribute("#bytes", "aria-label"), /polling [\d,]+, push [\d,]+/);
    await window.untilShown("#totals th", "of these without an event");
  });
  await window.isFitForAll();
  await window.picture("polling_vs_push");

  await check("pausing closes the socket and stops polling", async () => {
    await window.page.click("#toggle");
    await window.untilState("closed: 1000 paused");
  });

  await check("the page's byte counts equal the server's", async () => {
    // an answer may still have been under way
    await window.until("the last answer", () => counts().then(counted => counted.polling.requests === ways.polling.requests));
    const [counted, { polling, push }] = await window.page.evaluate(async () => [await counts(), ways]);
    assert.deepEqual([polling.requests, polling.bytes], [counted.polling.requests, counted.polling.bytes]);
    // one message says what the handshake was
    assert.deepEqual([push.requests, push.events + 1, push.bytes],
      [counted.push.requests, counted.push.messages, counted.push.bytes]);
  });

  await check("resumes", async () => {
    await window.page.click("#toggle");
    await window.untilState("connected");
    const before = await window.page.evaluate(() => ways.push.events);
    await window.until("another event", events => ways.push.events > events, before);
  });

  await check("speaks both languages", async () => {
    await speaksBothLanguages(window, ["Polling and push", "ajax 轮询和推送"]);
    await window.untilState("connected");
  });

  await check("reconnects after a restart: polling and push deliver new events", async () => {
    assert.deepEqual(window.complaints, []);
    await window.page.selectOption("#every", "200");
    server = await comesBack(server, window);
    const before = await window.page.evaluate(() => [ways.polling.events, ways.push.events]);
    await window.until("new events", ([polling, push]) => ways.polling.events > polling && ways.push.events > push, before);
    await window.until("no trouble", () => document.querySelector("#trouble").hidden);
    assert.deepEqual(window.complaints, []);
  });

  await check("shows an error when a poll fails", async () => {
    await server.terminate();
    await window.untilRed("#trouble", "A poll failed:");
    await window.untilRed("#state", "closed: 1001 the server is shutting down");
  });
  await window.close();
}

async function onAPhone() {
  const server = await Server.start("polling_vs_push");
  const window = await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" });
  await check("fits a phone, and polls at the chosen interval", async () => {
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
