"use strict";
// Drives the page of polling_vs_push, and compares what it has measured with what the server has counted.

const assert = require("node:assert/strict");
const { PHONE, Server, Window, check, tell } = require("./windows.js");

async function bothWaysAtOnce() {
  const server = await Server.start("polling_vs_push");
  const window = await Window.open(server.urls.page, { viewport: { width: 1000, height: 800 } });
  await window.untilState("1 OPEN");

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
    assert.ok(push.octets < polling.octets, `${push.octets} of ${polling.octets}`);
  });

  await check("the charts show both, and the table the totals", async () => {
    await window.until("lines", () => document.querySelectorAll("figure polyline[points*=',']").length === 6);
    assert.match(await window.page.getAttribute("#octets", "aria-label"), /轮询 [\d,]+，推送 [\d,]+/);
    await window.untilShown("#totals th", "其中空手而回的");
  });
  await window.isFitForAll();
  await window.picture("polling-desktop");

  await check("pausing closes the socket and asks no more", async () => {
    await window.page.click("#toggle");
    await window.untilState("3 CLOSED 1000");
  });

  await check("the page has measured what the server has counted, octet by octet", async () => {
    // an answer may still have been under way
    await window.until("the last answer", () => counts().then(counted => counted.polling.requests === ways.polling.requests));
    const [counted, { polling, push }] = await window.page.evaluate(async () => [await counts(), ways]);
    assert.deepEqual([polling.requests, polling.octets], [counted.polling.requests, counted.polling.octets]);
    // one message says what the handshake was
    assert.deepEqual([push.requests, push.events + 1, push.octets],
      [counted.push.requests, counted.push.messages, counted.push.octets]);
  });

  await check("goes on", async () => {
    await window.page.click("#toggle");
    await window.untilState("1 OPEN");
    const before = await window.page.evaluate(() => ways.push.events);
    await window.until("another event", events => ways.push.events > events, before);
  });

  await check("says that polling fails and the push has ended when the server goes", async () => {
    assert.deepEqual(window.complaints, []);
    await server.terminate();
    await window.untilState("3 CLOSED 1001");
    await window.untilShown("#trouble", "代码 1001");
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
  });
  await window.page.evaluate(() => scrollTo(0, 150));
  await window.picture("polling-phone-dark");
  await window.close();
  await server.terminate();
}

tell(bothWaysAtOnce, onAPhone);
