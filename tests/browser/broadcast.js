"use strict";
// Drives the page of broadcast with several windows that listen to different things.

const assert = require("node:assert/strict");
const { PHONE, Server, Window, check, tell } = require("./windows.js");

/** What a window shows of a topic. */
function shown(window, topic) {
  return window.page.innerText(`#${topic} .news`);
}

async function threeListeners() {
  const server = await Server.start("broadcast");
  const [all, other, phone] = [
    await Window.open(server.urls.page, { viewport: { width: 1000, height: 420 } }),
    await Window.open(server.urls.page),
    await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" }),
  ];

  await check("everybody hears the same, and how many listen", async () => {
    for (const window of [all, other, phone]) {
      await window.untilState("1 OPEN");
      for (const topic of ["time", "quotes", "scores"]) await window.untilShown(`#${topic} .listeners`, "3 个窗口在收听");
    }
    await all.untilShown("#quotes td", "黄山茶业");
    await all.untilShown("#scores .score", " : ");
  });

  await check("the time goes on by itself, and is the machine's", async () => {
    const before = await shown(all, "time");
    await all.until("another second", before => document.querySelector("#time .news").textContent !== before, before);
    const [hours, minutes, seconds] = (await shown(all, "time")).split(":").map(Number);
    const now = new Date();
    const apart = Math.abs((hours * 60 + minutes) * 60 + seconds - ((now.getHours() * 60 + now.getMinutes()) * 60 + now.getSeconds()));
    assert.ok(apart <= 5 || apart >= 86_390, `${apart} s`);
  });

  await check("who listens to less is sent less, and the others are told", async () => {
    await other.page.uncheck("[value=quotes]");
    await other.page.uncheck("[value=scores]");
    await all.untilShown("#quotes .listeners", "2 个窗口在收听");
    await other.untilShown("#quotes .listeners", "没有收听");
    await other.page.evaluate(() => { window.topics = []; socket.addEventListener("message", ({ data }) => topics.push(JSON.parse(data).topic)); });
    await other.until("three messages", () => topics.length >= 3);
    assert.deepEqual([...new Set(await other.page.evaluate(() => topics))], ["time"]);
  });

  await check("and it is sent more again when it asks", async () => {
    await other.page.check("[value=quotes]");
    await all.untilShown("#quotes .listeners", "3 个窗口在收听");
  });

  for (const window of [all, phone]) await check("fits its window and names its controls", () => window.isFitForAll());
  await all.picture("broadcast-desktop");
  await phone.picture("broadcast-phone-dark");

  await check("who has gone is no longer counted, and may come back", async () => {
    await phone.page.click("#toggle");
    await phone.untilState("3 CLOSED 1000");
    await all.untilShown("#time .listeners", "2 个窗口在收听");
    await phone.page.click("#toggle");
    await all.untilShown("#time .listeners", "3 个窗口在收听");
  });

  await check("says that the server has gone", async () => {
    assert.equal(await server.terminate(), 0);
    for (const window of [all, other, phone]) {
      await window.untilState("3 CLOSED 1001");
      await window.untilShown("#trouble", "代码 1001");
      assert.deepEqual(window.complaints, []);
      await window.close();
    }
  });
}

tell(threeListeners);
