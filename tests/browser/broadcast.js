"use strict";
// Drives the page of broadcast with several windows that listen to different topics.

const assert = require("node:assert/strict");
const { PHONE, Server, Window, check, comesBack, speaksBothLanguages, tell } = require("./windows.js");

const TOPICS = ["time", "quotes", "scores"];

/** The news of a topic as a window shows it. */
function shown(window, topic) {
  return window.page.innerText(`#${topic} .news`);
}

async function threeListeners() {
  let server = await Server.start("broadcast");
  const [all, other, phone] = [
    await Window.open(server.urls.page, { viewport: { width: 1000, height: 420 } }),
    await Window.open(server.urls.page),
    await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" }),
  ];

  await check("all windows show the same data and the number of listeners", async () => {
    for (const window of [all, other, phone]) {
      await window.untilState("connected");
      for (const topic of TOPICS) await window.untilShown(`#${topic} .listeners`, "3 windows listen");
    }
    await all.untilShown("#quotes td", "Huangshan Tea");
    await all.untilShown("#scores .score", " : ");
  });

  await check("the time advances and matches the machine's clock", async () => {
    const before = await shown(all, "time");
    await all.until("another second", before => document.querySelector("#time .news").textContent !== before, before);
    const [hours, minutes, seconds] = (await shown(all, "time")).split(":").map(Number);
    const now = new Date();
    const apart = Math.abs((hours * 60 + minutes) * 60 + seconds - ((now.getHours() * 60 + now.getMinutes()) * 60 + now.getSeconds()));
    assert.ok(apart <= 5 || apart >= 86_390, `${apart} s`);
  });

  await check("a window that leaves a topic receives no more of it, and the others see the count", async () => {
    await other.page.uncheck("[value=quotes]");
    await other.page.uncheck("[value=scores]");
    await all.untilShown("#quotes .listeners", "2 windows listen");
    await other.untilShown("#quotes .listeners", "not chosen");
    await other.page.evaluate(() => {
      window.topics = [];
      connection.socket.addEventListener("message", ({ data }) => topics.push(JSON.parse(data).topic));
    });
    await other.until("three messages", () => topics.length >= 3);
    assert.deepEqual([...new Set(await other.page.evaluate(() => topics))], ["time"]);
  });

  await check("and receives the topic again after it subscribes", async () => {
    await other.page.check("[value=quotes]");
    await all.untilShown("#quotes .listeners", "3 windows listen");
  });

  for (const window of [all, phone]) await check("fits its window and names its controls", () => window.isFitForAll());
  await all.picture("broadcast");
  await phone.picture("broadcast-phone-dark");

  await check("speaks both languages", async () => {
    await speaksBothLanguages(phone, ["Broadcasting and listening", "广播和收听"]);
    await phone.changeLanguage();
    await phone.untilState("已连接");
    await phone.untilShown("#quotes td", "黄山茶业");
    await phone.untilShown("#quotes .listeners", "3 个窗口在收听");
    await phone.picture("broadcast-zh");
    await phone.changeLanguage();
  });

  await check("a closed window is no longer counted, and may return", async () => {
    await phone.page.click("#toggle");
    await phone.untilState("closed: 1000 normal closure");
    await all.untilShown("#time .listeners", "2 windows listen");
    await phone.page.click("#toggle");
    await all.untilShown("#time .listeners", "3 windows listen");
  });

  await check("reconnects after a restart, with its topics", async () => {
    for (const window of [all, other, phone]) assert.deepEqual(window.complaints, []);
    server = await comesBack(server, all, other, phone);
    await all.untilShown("#quotes .listeners", "3 windows listen");
    await all.untilShown("#scores .listeners", "2 windows listen");
    await other.untilShown("#scores .listeners", "not chosen");
    for (const window of [all, other, phone]) assert.deepEqual(window.complaints, []);
  });
  for (const window of [all, other, phone]) await window.close();
  await server.terminate();
}

tell(threeListeners);
